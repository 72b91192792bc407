#!/usr/bin/env bash
# Shows the whole system on a real cluster: installs the operator, applies config/samples/quickstart.yaml, sends mail
# through the relay and shows what became of it.
#
#   CLUSTER=local     the throwaway cluster of hack/cluster, made if it is not there (needs root)
#   CLUSTER=current   the cluster of the current kubectl context, which can pull IMG and SINK_IMG
set -euo pipefail
cd "$(dirname "$0")/../.."

default_image=ghcr.io/postrider/postrider:dev
image=${IMG:-$default_image}
sink_image=${SINK_IMG:-ghcr.io/postrider/sink:dev}
namespace=postrider-demo
total=$SECONDS

source hack/step.sh
quietly() { "$@" >/dev/null; }
k() { kubectl -n "$namespace" "$@"; }
sink() { k exec -i deployment/sink -- /sink "$@"; }

case ${CLUSTER:-local} in
local)
	make cluster-up image sink-image
	step "loading the images" bin/cluster load bin/image.tar bin/sink.tar
	PATH=$PWD/bin/kube:$PATH
	KUBECONFIG=$(bin/cluster kubeconfig)
	export PATH KUBECONFIG
	;;
current)
	echo "using the current context $(kubectl config current-context), namespaces postrider-system and $namespace, images $image and $sink_image"
	;;
*)
	echo "demo: CLUSTER is local or current, not $CLUSTER" >&2
	exit 2
	;;
esac

install_operator() {
	kubectl kustomize config/default | sed "s#$default_image#$image#g" |
		quietly kubectl apply --server-side --force-conflicts -f -
	# An image of the same name may have been loaded since.
	quietly kubectl -n postrider-system rollout restart deployment
	quietly kubectl -n postrider-system rollout status deployment --timeout=120s
}

# The relay asks the sink for DNS, as it asks yours in real life.
apply_samples() {
	local dir resolver=$1
	dir=$(mktemp -d)
	cp config/samples/quickstart.yaml "$dir"
	cat >"$dir/kustomization.yaml" <<-END
		namespace: $namespace
		resources: [quickstart.yaml]
		patches:
		- patch: |
		    apiVersion: postrider.dev/v1alpha1
		    kind: MailRelay
		    metadata: {name: outbound}
		    spec: {dns: {resolvers: ["$resolver:53"]}, egress: {addresses: [203.0.113.10]}}
	END
	kubectl apply -k "$dir"
	rm -r "$dir"
}

deploy_sink() {
	kubectl create namespace "$namespace" --dry-run=client -o yaml | quietly kubectl apply -f -
	sed "s#SINK_IMG#$sink_image#" hack/demo/sink.yaml | quietly k apply -f -
	quietly k rollout restart deployment/sink
	quietly k rollout status deployment/sink --timeout=60s
}

publish() {
	sink publish <<-END
		inbox.example. MX 10 mx.inbox.example.
		mx.inbox.example. A $1
		closed.example. MX 10 mx.closed.example.
		mx.closed.example. A 127.0.0.2
		shop.example. MX 10 mx.inbox.example.
		shop.example. TXT "v=spf1 ip4:203.0.113.10 -all"
		_dmarc.shop.example. TXT "v=DMARC1; p=reject"
	END
	quietly k wait sd/shop --for=jsonpath='{.status.records[0].name}' --timeout=60s
	k get sd shop -o jsonpath='{range .status.records[?(@.purpose=="DKIM")]}{.name}. TXT "{.expected[0]}"{"\n"}{end}' | sink publish
}

ready() {
	k wait mr/outbound --for=condition=Ready --timeout=120s
	k wait sd/shop --for=condition=DKIMVerified --timeout=120s
	k wait rlp/gentle --for=condition=Programmed --timeout=60s
}

send() {
	local relay
	relay=$(k get service outbound -o jsonpath='{.spec.clusterIP}')
	sink send -server "$relay:25" -from orders@shop.example -to you@inbox.example -subject "Your order"
	sink send -server "$relay:25" -from orders@shop.example -to you@closed.example -subject "Nobody is at home there"
	echo "    two messages from orders@shop.example, to you@inbox.example and you@closed.example"
}

arrived() {
	for _ in {1..100}; do
		[[ -n $(sink messages) ]] && return
		sleep 0.2
	done
	echo "demo: nothing arrived" >&2
	k logs outbound-0 --tail=20 >&2
	return 1
}

# Status counts are at most 15 s old; the pod's own are of this moment.
counted() {
	local queued
	queued=$(k exec outbound-0 -- /relay ctl GET /status | grep -o '"queued":[0-9]*' | head -n 1 | cut -d: -f2)
	quietly k wait mr/outbound --for=jsonpath='{.status.queue.queued}'="$queued" --timeout=30s
	quietly k wait mr/outbound --for=jsonpath='{.status.slowest[0].domain}'=closed.example --timeout=30s
}

step "installing the operator (config/default)" install_operator
step "a mail exchanger and DNS to talk to (hack/sink)" deploy_sink
sink_ip=$(k get service sink -o jsonpath='{.spec.clusterIP}')
step "applying config/samples/quickstart.yaml" apply_samples "$sink_ip"
step "publishing the DNS records that status asks for" publish "$sink_ip"
step "waiting for the relay, the domain and the policy" ready
step "sending mail through the relay's Service" send
step "waiting for it to arrive" arrived
step "waiting for status to show the one that cannot" counted

printf '\n$ kubectl get mr,sd,rlp -n %s\n' "$namespace"
k get mr,sd,rlp
printf '\nWhat arrived at the mail exchanger of inbox.example:\n\n'
sink messages
printf 'Why the other one waits (kubectl get mr outbound -o jsonpath={.status.slowest}):\n  %s\n' \
	"$(k get mr outbound -o jsonpath='{range .status.slowest[*]}{.domain}: {.reason}: {.reply}{end}')"

cat <<END

Done in $((SECONDS - total)) s. Where to look next:
  export KUBECONFIG=${KUBECONFIG:-} PATH=$PWD/bin/kube:\$PATH
  kubectl -n $namespace describe mr outbound          conditions and events
  kubectl -n $namespace get sd shop -o yaml           the DNS records, expected and observed
  kubectl -n $namespace logs outbound-0               a line per message accepted and per attempt
  kubectl -n $namespace exec outbound-0 -- /relay ctl GET /queue
  kubectl -n $namespace exec deploy/sink -- /sink messages
END
if [[ ${CLUSTER:-local} == local ]]; then
	echo "  make cluster-down                                     takes it all away"
else
	echo "  kubectl delete namespace $namespace; kubectl delete -k config/default     takes it all away"
fi
