package desired

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// configMaps hold what is not secret: one for the relay, one for each shard of domains that is not empty.
func configMaps(in Input) []client.Object {
	var objects []client.Object
	for shard, files := range in.Files.Domains {
		if len(files) > 0 {
			objects = append(objects, configMap(in, domainsName(in.Relay.Name, shard), files))
		}
	}
	return append(objects, configMap(in, configName(in.Relay.Name), in.Files.Relay))
}

func configMap(in Input, name string, files map[string][]byte) client.Object {
	data := map[string]string{}
	for file, content := range files {
		data[file] = string(content)
	}
	return &corev1.ConfigMap{
		TypeMeta:   typeMeta("v1", "ConfigMap"),
		ObjectMeta: meta(in, name),
		Data:       data,
	}
}
