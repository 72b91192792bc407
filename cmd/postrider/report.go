package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/cmd/postrider/bundle"
	"github.com/postrider/postrider/cmd/postrider/door"
	"github.com/postrider/postrider/controllers/desired"
)

// supportReport is the command report.
type supportReport struct {
	target
	file              string
	operatorNamespace string
	lines             int64
	addresses         bool
}

func newReport(s streams) *cobra.Command {
	var r supportReport
	c := &cobra.Command{
		Use:   "report [NAME]",
		Short: "Write a support bundle: objects, events, logs, metrics and queue counts, without secrets and mail",
		Long: `Write a tar.gz for those who help: the relay's objects with their status, its domains and policies, events, the logs of its pods and
of the operator, metrics, and the queue by destination and age.

Secrets and ConfigMaps are not read, message content and headers neither. Passwords, tokens, keys, the values of environment
variables, and paths of URLs are taken out of everything, and the local part of each address is replaced by a pseudonym that is the same within
the bundle; --addresses keeps them. Look into it before you send it: nobody knows all forms of a secret.

What you may not read is left out, and listed in missing.txt.`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := r.take(args); err != nil {
				return err
			}
			return r.run(c.Context(), s)
		},
	}
	r.flags(c)
	c.Flags().StringVarP(&r.file, "file", "f", "", "where to write it; - for standard output; default postrider-report-NAME-TIME.tar.gz")
	c.Flags().StringVar(&r.operatorNamespace, "operator-namespace", "postrider-system", "namespace of the operator")
	c.Flags().Int64Var(&r.lines, "log-lines", 5000, "lines of each log, the newest")
	c.Flags().BoolVar(&r.addresses, "addresses", false, "keep addresses as they are")
	return c
}

func (r *supportReport) run(ctx context.Context, s streams) error {
	now := time.Now().UTC()
	dir := strings.Join([]string{"postrider-report", r.name, now.Format("20060102T150405Z")}, "-")
	w, err := r.open(s, dir+".tar.gz")
	if err != nil {
		return err
	}
	var redact bundle.Redactor
	if !r.addresses {
		redact.Key = []byte(rand.Text())
	}
	b := bundle.New(w, dir, redact, now)
	err = r.collect(ctx, b)
	if err = errors.Join(err, b.Close(), w.Close()); err != nil {
		return err
	}
	for _, lack := range b.Lacks() {
		fmt.Fprintln(s.err, "Missing:", printable(lack))
	}
	if r.file != "-" {
		_, err = fmt.Fprintf(s.out, "%s\n", r.file)
	}
	return err
}

// open makes the file; only its owner may read it.
func (r *supportReport) open(s streams, name string) (io.WriteCloser, error) {
	if r.file == "-" {
		return keepOpen{s.out}, nil
	}
	if r.file == "" {
		r.file = name
	}
	return os.OpenFile(r.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// keepOpen is a stream that is not ours to close.
type keepOpen struct{ io.Writer }

// Close implements io.Closer.
func (keepOpen) Close() error { return nil }

// collect gathers what can be had. The error is that of writing; what cannot be had is missing.
func (r *supportReport) collect(ctx context.Context, b *bundle.Bundle) error {
	failed := b.Object("postrider", map[string]string{"version": version})
	objects, err := r.objects(ctx)
	if err != nil {
		b.Missing("the MailRelay and what belongs to it", err)
	}
	for _, o := range objects {
		if meta, ok := o.(client.Object); ok {
			name := strings.ToLower(o.GetObjectKind().GroupVersionKind().Kind) + "-" + meta.GetName()
			failed = errors.Join(failed, b.Object("objects/"+name, o))
		}
	}
	failed = errors.Join(failed, r.processes(ctx, b))
	if r.dataDir != "" {
		return failed
	}
	c, err := r.connect()
	if err != nil {
		b.Missing("the cluster", err)
		return failed
	}
	return errors.Join(failed, r.cluster(ctx, c, b))
}

// asked are what each relay process is asked, and the names of the files.
var asked = []struct{ path, file string }{
	{"/status", "status"}, {"/queue/ages?limit=100", "queue"}, {"/directives", "directives"},
}

// processes asks those of the relay.
func (r *supportReport) processes(ctx context.Context, b *bundle.Bundle) error {
	doors, err := r.doors(ctx)
	if err != nil {
		b.Missing("what the pods say", err)
	}
	var failed error
	for _, d := range doors {
		failed = errors.Join(failed, r.process(ctx, b, d))
	}
	return failed
}

func (r *supportReport) process(ctx context.Context, b *bundle.Bundle, d door.Door) error {
	var failed error
	for _, what := range asked {
		var answer any
		if err := d.Get(ctx, what.path, &answer); err != nil {
			b.Missing(what.file, err)
			continue
		}
		failed = errors.Join(failed, b.Object("pods/"+d.Name+"/"+what.file, answer))
	}
	metrics, err := d.Text(ctx, "/metrics")
	if err != nil {
		b.Missing("metrics", err)
		return failed
	}
	return errors.Join(failed, b.Text("pods/"+d.Name+"/metrics.txt", metrics))
}

// listed are the kinds of a relay's own objects. Secrets and ConfigMaps are none of them.
var listed = []schema.GroupVersionKind{
	{Group: "apps", Version: "v1", Kind: "StatefulSet"}, {Version: "v1", Kind: "Service"}, {Version: "v1", Kind: "Pod"},
	{Version: "v1", Kind: "PersistentVolumeClaim"}, {Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
}

// cluster adds the objects that the operator made, the events about them, and logs.
func (r *supportReport) cluster(ctx context.Context, c *cluster, b *bundle.Bundle) error {
	var failed error
	for _, kind := range listed {
		failed = errors.Join(failed, addList(ctx, c, b, "objects/"+strings.ToLower(kind.Kind), kind, client.InNamespace(c.namespace), client.MatchingLabels(desired.Selector(r.name))))
	}
	operators := client.MatchingLabels{"app.kubernetes.io/name": "postrider", "app.kubernetes.io/component": "manager"}
	deployment := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	failed = errors.Join(failed, addList(ctx, c, b, "operator/deployment", deployment, client.InNamespace(r.operatorNamespace), operators),
		r.events(ctx, c, b), r.logs(ctx, c, b, "pods", c.namespace, desired.Selector(r.name)), r.logs(ctx, c, b, "operator", r.operatorNamespace, operators))
	return failed
}

// addList adds the objects of a kind.
func addList(ctx context.Context, c *cluster, b *bundle.Bundle, file string, kind schema.GroupVersionKind, options ...client.ListOption) error {
	found := &unstructured.UnstructuredList{}
	found.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := c.List(ctx, found, options...); err != nil {
		b.Missing(file, err)
		return nil
	}
	return b.Object(file, found.Object["items"])
}

// events adds those about the relay and what is named after it.
func (r *supportReport) events(ctx context.Context, c *cluster, b *bundle.Bundle) error {
	var all corev1.EventList
	if err := c.Client.List(ctx, &all, client.InNamespace(c.namespace)); err != nil {
		b.Missing("events", err)
		return nil
	}
	var about []corev1.Event
	for _, e := range all.Items {
		name := e.InvolvedObject.Name
		ours := strings.HasPrefix(e.InvolvedObject.APIVersion, "postrider.dev/")
		if ours || name == r.name || strings.HasPrefix(name, r.name+"-") || strings.HasPrefix(name, "spool-"+r.name+"-") {
			about = append(about, e)
		}
	}
	return b.Object("events", about)
}

// logs adds those of pods; of one that was restarted also the log before.
func (r *supportReport) logs(ctx context.Context, c *cluster, b *bundle.Bundle, dir, namespace string, labels map[string]string) error {
	config, err := c.loader.ClientConfig()
	if err != nil {
		return err
	}
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	var pods corev1.PodList
	if err := c.Client.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(labels)); err != nil {
		b.Missing("logs in "+namespace, err)
		return nil
	}
	var failed error
	for _, p := range pods.Items {
		for _, container := range p.Status.ContainerStatuses {
			for _, before := range []bool{false, true}[:1+min(1, container.RestartCount)] {
				name := fmt.Sprintf("%s/%s/%s.log", dir, p.Name, container.Name)
				options := &corev1.PodLogOptions{Container: container.Name, TailLines: &r.lines, Previous: before}
				failed = errors.Join(failed, addLog(ctx, set, b, name, &p, options))
			}
		}
	}
	return failed
}

func addLog(ctx context.Context, set kubernetes.Interface, b *bundle.Bundle, name string, p *corev1.Pod, options *corev1.PodLogOptions) error {
	if options.Previous {
		name += ".before"
	}
	text, err := set.CoreV1().Pods(p.Namespace).GetLogs(p.Name, options).DoRaw(ctx)
	if err != nil { // for logs, it does not say by itself what the API server said
		b.Missing(name, fmt.Errorf("%s: %w", apierrors.ReasonForError(err), err))
		return nil
	}
	return b.Text(name, text)
}
