package v1alpha1

// DomainName is a mail domain in lower case, internationalised ones as A-labels (RFC 5890), with at least two
// labels and no dot at the end.
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="must be a domain name such as example.com: lower case letters, digits, hyphens and dots, at least two labels, no dot at the end; write an internationalised name in its xn-- form"
type DomainName string

// Address is a mail address: an ASCII local part without quotes, and a domain.
// +kubebuilder:validation:MinLength=5
// +kubebuilder:validation:MaxLength=254
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9!#$%&*+/=?^_{|}~-]+([.][A-Za-z0-9!#$%&*+/=?^_{|}~-]+)*@([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="must be a plain mail address such as ops@example.com: no quotes, spaces or display name, the domain in lower case"
type Address string

// HostOrIP is a host name in lower case, or an IP address.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="isIP(self) || self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$')",message="must be a host name in lower case without a dot at the end, or an IP address without brackets: write smtp.example.com or 192.0.2.1"
type HostOrIP string

// IPAddress is an IPv4 or IPv6 address.
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=45
// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IP address: write 203.0.113.10 or 2001:db8::10"
type IPAddress string

// CIDR is a range of IPv4 or IPv6 addresses.
// +kubebuilder:validation:MinLength=4
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="must be a range of addresses: write 10.0.0.0/8 or fd00::/8"
type CIDR string

// TrustedCIDR is a range of IPv4 or IPv6 addresses, no wider than /8 or /16: a wider one is a mistake that
// makes an open relay, or believes strangers who say that they are proxies.
// +kubebuilder:validation:MinLength=4
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="must be a range of addresses: write 10.0.0.0/8 or 2001:db8::/32"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || cidr(self).prefixLength() >= (cidr(self).ip().family() == 4 ? 8 : 16)",message="is too wide, anyone in it would be trusted: list ranges of at most /8 (IPv4) or /16 (IPv6)"
type TrustedCIDR string

// Resolver is the address and port of a DNS server.
// +kubebuilder:validation:MinLength=4
// +kubebuilder:validation:MaxLength=53
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9.]+|[[][0-9a-f:.]+[]]):[1-9][0-9]{0,4}$') && isIP(self.startsWith('[') ? self.substring(1, self.lastIndexOf(']')) : self.substring(0, self.lastIndexOf(':'))) && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",message="must be the address and port of a DNS server: write 192.0.2.53:53 or [2001:db8::53]:53"
type Resolver string

// WebURL is the URL of a service over HTTP or HTTPS.
// +kubebuilder:validation:MinLength=8
// +kubebuilder:validation:MaxLength=1024
// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^https?://([a-z0-9][-a-z0-9.]*|[[][0-9a-f:.]+[]])(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~!$&()*+,;=:@%/-]*)?([?][A-Za-z0-9._~!$&()*+,;=:@%/?-]*)?$')",message="must be a URL such as http://service.mail.svc:8080/path: http or https, a host in lower case, no user, no fragment"
type WebURL string

// HTTPSURL is the URL of a service over HTTPS.
// +kubebuilder:validation:MinLength=9
// +kubebuilder:validation:MaxLength=1024
// +kubebuilder:validation:XValidation:rule="isURL(self) && self.matches('^https://([a-z0-9][-a-z0-9.]*|[[][0-9a-f:.]+[]])(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~!$&()*+,;=:@%/-]*)?([?][A-Za-z0-9._~!$&()*+,;=:@%/?-]*)?$')",message="must be a URL such as https://login.example.com/token: https, a host in lower case, no user, no fragment"
type HTTPSURL string

// OAuth2Scope is a scope of an access token (RFC 6749 section 3.3).
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="self.matches('^[!#-Z^-~]+$')",message="must be one scope, printable ASCII without spaces, double quotes, backslashes and brackets: list several one by one"
type OAuth2Scope string

// Username is the name of an AUTH user.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([A-Za-z0-9._@+-]*[A-Za-z0-9])?$')",message="must be the name of a user in a users Secret: letters, digits and . _ @ + -, beginning and ending with a letter or digit"
type Username string

// Audience is whom a token is for.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][A-Za-z0-9:/._~-]*$')",message="must be a name or URL such as postrider.dev/mail/outbound: letters, digits and : / . _ ~ -"
type Audience string

// NamespaceName is the name of a namespace.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be the name of a namespace: lower case letters, digits and hyphens"
type NamespaceName string

// ObjectName is the name of an object in the same namespace.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an object: lower case letters, digits, hyphens and dots"
type ObjectName string

// SecretName is the name of a Secret in the same namespace. The files of the relay are named after it, which is
// why it is shorter than other names.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=200
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of a Secret: lower case letters, digits, hyphens and dots"
type SecretName string

// SecretReference names a Secret in the namespace of the object that refers to it. A Secret elsewhere cannot
// be named.
type SecretReference struct {
	// name is the Secret's name.
	// +required
	Name SecretName `json:"name,omitempty"`
}

// Version is the tag of an image.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_][A-Za-z0-9_.-]*$')",message="must be the tag of a relay image, such as v1.2.0: letters, digits and _ . -"
type Version string
