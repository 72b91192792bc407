package v1alpha1

// Types of conditions. Reconciling and Stalled are present only when true, and never both.
const (
	// ConditionReady sums up: the object does what it is for.
	ConditionReady = "Ready"
	// ConditionReconciling says that the object is on its way to what the spec asks.
	ConditionReconciling = "Reconciling"
	// ConditionStalled says that it will not get there unless somebody changes something.
	ConditionStalled = "Stalled"
	// ConditionPaused says that the operator only reports (MailRelay).
	ConditionPaused = "Paused"

	// ConditionUpgradePending says that the pods run another version than the operator brings (MailRelay). It is present only
	// while that is so.
	ConditionUpgradePending = "UpgradePending"
	// ConditionAvailable says that at least one pod serves (MailRelay).
	ConditionAvailable = "Available"
	// ConditionQueueHealthy says that mail flows (MailRelay).
	ConditionQueueHealthy = "QueueHealthy"
	// ConditionConfigCurrent says that every pod has the newest configuration in force (MailRelay).
	ConditionConfigCurrent = "ConfigCurrent"
	// ConditionUpstreamReady says that the smart hosts' credentials are there (MailRelay).
	ConditionUpstreamReady = "UpstreamReady"
	// ConditionTLSReady says that the listeners' certificates are valid (MailRelay).
	ConditionTLSReady = "TLSReady"
	// ConditionPTRVerified says that the egress addresses have names that lead back to them (MailRelay).
	ConditionPTRVerified = "PTRVerified"
	// ConditionLimited says what the operator lacks the rights for, because it is installed for some namespaces only
	// (MailRelay). It is present only when true.
	ConditionLimited = "Limited"

	// ConditionAccepted says that what the object refers to takes it (SendingDomain, RateLimitPolicy).
	ConditionAccepted = "Accepted"

	// ConditionDKIMKeyReady says that the domain has its keys (SendingDomain).
	ConditionDKIMKeyReady = "DKIMKeyReady"
	// ConditionSPFVerified says that SPF passes for every egress address (SendingDomain).
	ConditionSPFVerified = "SPFVerified"
	// ConditionDKIMVerified says that the published keys are ours (SendingDomain).
	ConditionDKIMVerified = "DKIMVerified"
	// ConditionDMARCVerified says that the domain has a DMARC policy (SendingDomain).
	ConditionDMARCVerified = "DMARCVerified"
	// ConditionMXVerified says that replies and bounces have somewhere to go (SendingDomain).
	ConditionMXVerified = "MXVerified"

	// ConditionProgrammed says that the policy is in force in every relay pod (RateLimitPolicy).
	ConditionProgrammed = "Programmed"
)

// Reasons of a MailRelay's conditions.
const (
	ReasonServing                  = "Serving"
	ReasonNotEnoughReplicas        = "NotEnoughReplicas"
	ReasonInvalidReference         = "InvalidReference"
	ReasonDeleting                 = "Deleting"
	ReasonMinimumReplicasAvailable = "MinimumReplicasAvailable"
	ReasonNoReadyPods              = "NoReadyPods"
	ReasonRollingOut               = "RollingOut"
	ReasonScalingUp                = "ScalingUp"
	ReasonScalingDown              = "ScalingDown"
	ReasonResizingVolumes          = "ResizingVolumes"
	ReasonInvalidConfiguration     = "InvalidConfiguration"
	ReasonRolloutStuck             = "RolloutStuck"
	ReasonVolumeGrowthRefused      = "VolumeGrowthRefused"
	ReasonVolumeShrinkRejected     = "VolumeShrinkRejected"
	ReasonManualUpgrade            = "ManualUpgrade"
	ReasonWaitingForTurn           = "WaitingForTurn"
	ReasonHealthy                  = "Healthy"
	ReasonBacklogged               = "Backlogged"
	ReasonDiskPressure             = "DiskPressure"
	ReasonStatusUnavailable        = "StatusUnavailable"
	ReasonStrandedMail             = "StrandedMail"
	ReasonNodeLost                 = "NodeLost"
	ReasonHandingOff               = "HandingOff"
	ReasonDrainTimedOut            = "DrainTimedOut"
	ReasonInForce                  = "InForce"
	ReasonPropagating              = "Propagating"
	ReasonRejected                 = "Rejected"
	ReasonPodsTooOld               = "PodsTooOld"
	ReasonCertificateValid         = "CertificateValid"
	ReasonPending                  = "Pending"
	ReasonExpiringSoon             = "ExpiringSoon"
	ReasonSecretInvalid            = "SecretInvalid"
	ReasonCredentialsPresent       = "CredentialsPresent"
	ReasonPaused                   = "Paused"
	ReasonForwardConfirmed         = "ForwardConfirmed"
	ReasonUnknown                  = "Unknown"
	ReasonNamespacedInstall        = "NamespacedInstall"
)

// Reasons of a SendingDomain's conditions. Those of the verified conditions are the RecordResults.
const (
	ReasonAccepted      = "Accepted"
	ReasonRelayNotFound = "RelayNotFound"
	ReasonDomainClaimed = "DomainClaimed"
	ReasonVerified      = "Verified"
	ReasonDNSGateFailed = "DNSGateFailed"
	ReasonNotAccepted   = "NotAccepted"
	ReasonKeysStored    = "KeysStored"
	ReasonNotRequired   = "NotRequired"

	ReasonNotAllowedByRelay = "NotAllowedByRelay"
)

// Reasons of a RateLimitPolicy's conditions.
const (
	ReasonTargetNotFound      = "TargetNotFound"
	ReasonProgrammed          = "Programmed"
	ReasonPartiallyProgrammed = "PartiallyProgrammed"
)
