package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/cmd/postrider/door"
	"github.com/postrider/postrider/cmd/postrider/letter"
	"github.com/postrider/postrider/cmd/postrider/local"
	"github.com/postrider/postrider/controllers/render"
)

// handingOver is how long the conversation with the relay may take, tokenLife how long a token that is made for it is good:
// the least that an API server makes.
const (
	handingOver = time.Minute
	tokenLife   = 600
)

// testSend is the command test-send.
type testSend struct {
	target
	letter.Letter
	listener, pod      string
	user, passwordFile string
	serviceAccount     string
	follow             period
}

func newTestSend(s streams) *cobra.Command {
	t := &testSend{follow: period(2 * time.Minute)}
	var o output
	c := &cobra.Command{
		Use:   "test-send [NAME] --from ADDRESS --to ADDRESS",
		Short: "Send a test message through a relay, and follow it until it is delivered, deferred or failed",
		Long: `Send a test message through a listener of the relay, over a port-forward to one of its pods, and follow it. Each step is
printed. It ends with 0 once the message is delivered, and with 1 when it is deferred, failed, or still queued after --follow.

To a Submission listener it comes with a user (--user, --password-file) or with a token for the relay that is made for a
ServiceAccount (--service-account). A Relay listener takes it for domains that the relay receives mail for, and from trusted
clients; over a port-forward the client is 127.0.0.1.`,
		Example: "  kubectl postrider test-send -n mail mx1 --from news@example.com --to you@example.net --service-account checkout",
		Args:    arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			_, err := t.take(args)
			if err := errors.Join(err, o.check(), t.check()); err != nil {
				return err
			}
			return t.run(c.Context(), s, o)
		},
	}
	t.flags(c)
	o.flags(c)
	f := c.Flags()
	f.StringVar(&t.From, "from", "", "reverse path and From; required")
	f.StringVar(&t.To, "to", "", "recipient; required")
	f.StringVar(&t.Subject, "subject", "Postrider test", "subject")
	f.StringVar(&t.listener, "listener", "", "name of the listener; default the first that fits")
	f.StringVar(&t.pod, "pod", "", "pod to send through; default the first that serves")
	f.StringVar(&t.user, "user", "", "user to authenticate as")
	f.StringVar(&t.passwordFile, "password-file", "", "file with the user's password, on one line; - for standard input")
	f.StringVar(&t.serviceAccount, "service-account", "", "ServiceAccount to make a token for, [NAMESPACE/]NAME")
	f.Var(&t.follow, "follow", "how long the message is followed")
	return c
}

func (t *testSend) check() error {
	switch {
	case t.From == "" || t.To == "":
		return usageError{errors.New("--from and --to are required")}
	case t.user != "" && t.passwordFile == "" || t.user == "" && t.passwordFile != "":
		return usageError{errors.New("--user and --password-file go together")}
	case t.user != "" && t.serviceAccount != "":
		return usageError{errors.New("give --user or --service-account, not both")}
	case t.serviceAccount != "" && t.dataDir != "":
		return usageError{errors.New("--service-account needs a cluster: `postrider local` takes no tokens without one")}
	}
	return nil
}

// sent is what test-send tells.
type sent struct {
	Pod      string   `json:"pod"`
	Listener string   `json:"listener"`
	Steps    []string `json:"steps"`
	// ID is the spool id; empty when the relay did not take the message.
	ID string `json:"id,omitempty"`
	// Result is Delivered, Deferred, Failed, Suppressed, Removed or Queued, or Refused by the relay.
	Result string       `json:"result"`
	Traces []relayTrace `json:"traces,omitempty"`
}

func (t *testSend) run(ctx context.Context, s streams, o output) error {
	relay, doors, err := t.through(ctx)
	if err != nil {
		return err
	}
	l, err := chooseListener(relay, t.listener, t.user != "" || t.serviceAccount != "")
	if err != nil {
		return err
	}
	done := &sent{Pod: doors[0].Name, Listener: l.Name, Result: "Refused"}
	say := func(format string, args ...any) {
		done.Steps = append(done.Steps, fmt.Sprintf(format, args...))
		if !o.structured() {
			fmt.Fprintln(s.out, "  "+printable(done.Steps[len(done.Steps)-1]))
		}
	}
	if !o.structured() {
		fmt.Fprintf(s.out, "Through %s, listener %s (port %d)\n", done.Pod, l.Name, l.Port)
	}
	err = t.hand(ctx, s, relay, l, done, say)
	if err == nil {
		err = t.followUp(ctx, done, say)
	}
	if o.structured() {
		return errors.Join(o.write(s.out, done), err)
	}
	return err
}

// through is the relay, and its processes; the first is the one to send through.
func (t *testSend) through(ctx context.Context) (*v1alpha1.MailRelay, []door.Door, error) {
	relay, err := t.mailRelay(ctx)
	if err != nil {
		return nil, nil, err
	}
	doors, err := t.doors(ctx)
	if err != nil {
		return nil, nil, err
	}
	pod := t.pod
	for _, p := range relay.Status.Pods {
		if pod == "" && p.State == v1alpha1.PodServing {
			pod = p.Name
		}
	}
	if i := slices.IndexFunc(doors, func(d door.Door) bool { return d.Name == pod }); i >= 0 {
		doors[0], doors[i] = doors[i], doors[0]
	} else if t.pod != "" {
		return nil, nil, usageError{fmt.Errorf("pod %s does not run; postrider status shows those that do", t.pod)}
	}
	return relay, doors, nil
}

// mailRelay is the MailRelay of the target.
func (t *testSend) mailRelay(ctx context.Context) (*v1alpha1.MailRelay, error) {
	if t.dataDir == "" {
		c, err := t.connect()
		if err != nil {
			return nil, err
		}
		return c.relay(ctx, t.name)
	}
	objects, err := local.Observe(ctx, t.dataDir, t.name, time.Now())
	if err != nil {
		return nil, err
	}
	if relay := firstRelay(objects); relay != nil {
		return relay, nil
	}
	return nil, fmt.Errorf("there is no MailRelay in %s", t.dataDir)
}

// chooseListener is the one that is named, or the first that fits a client that authenticates or does not.
func chooseListener(relay *v1alpha1.MailRelay, name string, authenticates bool) (v1alpha1.Listener, error) {
	mode := v1alpha1.ListenerRelay
	if authenticates {
		mode = v1alpha1.ListenerSubmission
	}
	for _, l := range relay.Spec.Listeners {
		if name == "" && l.Mode != mode || name != "" && l.Name != name {
			continue
		}
		if l.ProxyProtocol == v1alpha1.ProxyRequired {
			if name == "" {
				continue
			}
			return l, usageError{fmt.Errorf("listener %s takes connections of proxies only (proxyProtocol: Required); choose another with --listener", name)}
		}
		return l, nil
	}
	if name != "" {
		return v1alpha1.Listener{}, usageError{fmt.Errorf("MailRelay %s has no listener %s", relay.Name, name)}
	}
	hint := "give --user and --password-file, or --service-account"
	if authenticates {
		hint = "leave --user and --service-account out"
	}
	return v1alpha1.Listener{}, usageError{fmt.Errorf("MailRelay %s has no listener with mode %s that takes connections from here: %s, or name one with --listener", relay.Name, mode, hint)}
}

// hand connects and hands the message over.
func (t *testSend) hand(ctx context.Context, s streams, relay *v1alpha1.MailRelay, l v1alpha1.Listener, done *sent, say func(string, ...any)) error {
	way := letter.Way{Host: string(relay.Spec.Hostname), TLS: tlsOf(l), Say: say, TimeLimit: handingOver}
	var err error
	if way.User, way.Password, err = t.credentials(ctx, s, relay, l); err != nil {
		return err
	}
	conn, err := t.dial(ctx, done.Pod, l)
	if err != nil {
		return err
	}
	t.Date = time.Now()
	done.ID, err = letter.Hand(conn, t.Letter, way)
	if err != nil {
		return fmt.Errorf("the relay did not take the message: %w", err)
	}
	return nil
}

func tlsOf(l v1alpha1.Listener) letter.TLS {
	switch {
	case l.TLS == nil || l.TLS.Mode == v1alpha1.ListenerTLSNone:
		return letter.None
	case l.TLS.Mode == v1alpha1.ListenerTLSImplicit:
		return letter.Implicit
	default:
		return letter.StartTLS
	}
}

// dial connects to the listener.
func (t *testSend) dial(ctx context.Context, pod string, l v1alpha1.Listener) (net.Conn, error) {
	port := render.ContainerPort(l.Port)
	if t.dataDir != "" {
		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	}
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	config, err := c.loader.ClientConfig()
	if err != nil {
		return nil, err
	}
	return door.Forward(ctx, config, c.namespace, pod, port)
}

// credentials are what to authenticate with; empty for nothing.
func (t *testSend) credentials(ctx context.Context, s streams, relay *v1alpha1.MailRelay, l v1alpha1.Listener) (user, password string, err error) {
	switch {
	case t.user != "":
		password, err := readPassword(s, t.passwordFile)
		return t.user, password, err
	case t.serviceAccount == "":
		return "", "", nil
	}
	namespace, name, found := strings.Cut(t.serviceAccount, "/")
	if !found {
		namespace, name = relay.Namespace, t.serviceAccount
	}
	audience := "postrider.dev/" + relay.Namespace + "/" + relay.Name
	if l.Auth != nil && l.Auth.ServiceAccounts != nil {
		audience = cmp.Or(string(l.Auth.ServiceAccounts.Audience), audience)
	}
	c, err := t.connect()
	if err != nil {
		return "", "", err
	}
	life := int64(tokenLife)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &life}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := c.SubResource("token").Create(ctx, account, request); err != nil {
		return "", "", fmt.Errorf("making a token for ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return name, request.Status.Token, nil
}

func readPassword(s streams, file string) (string, error) {
	if file == "-" {
		var line string
		_, err := fmt.Fscanln(s.in, &line)
		return line, err
	}
	data, err := os.ReadFile(file)
	return strings.TrimRight(string(data), "\r\n"), err
}
