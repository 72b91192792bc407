package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// volumeCount is how many persistent volumes the node offers. There is no provisioner: they are made beforehand, as
// directories, and a claim takes one. Local volumes, unlike host paths, are given to the pod's fsGroup.
const volumeCount = 64

const storageClass = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Retain
`

const volume = `---
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: standard
  local: {path: %[2]s}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%[3]s]}]
`

// volumes makes the storage class and the volumes that are missing, emptied. A volume whose claim is gone is made anew.
func (c *cluster) volumes() error {
	released, err := c.released()
	if err != nil {
		return err
	}
	if len(released) > 0 {
		if _, err := c.kubectl(append([]string{"delete", "persistentvolume"}, released...)...); err != nil {
			return err
		}
	}
	kept, err := c.kubectl("get", "persistentvolumes", "-o", "name")
	if err != nil {
		return err
	}
	manifest := storageClass
	for i := range volumeCount {
		name := fmt.Sprintf("volume-%02d", i)
		if strings.Contains(kept, "/"+name+"\n") {
			continue
		}
		dir := c.path("volumes", name)
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o770)); err != nil {
			return err
		}
		manifest += fmt.Sprintf(volume, name, dir, nodeName)
	}
	file := c.path("config", "volumes.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		return err
	}
	_, err = c.kubectl("apply", "-f", file)
	return err
}

// released lists the volumes whose claim is gone.
func (c *cluster) released() ([]string, error) {
	out, err := c.kubectl("get", "persistentvolumes", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct{ Phase string }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("kubectl get persistentvolumes: %w", err)
	}
	var names []string
	for _, item := range list.Items {
		if item.Status.Phase == "Released" || item.Status.Phase == "Failed" {
			names = append(names, filepath.Base(item.Metadata.Name))
		}
	}
	return names, nil
}
