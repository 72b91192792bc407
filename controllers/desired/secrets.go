package desired

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/relay/config"
)

// secrets hold the DKIM keys, one for each shard that is not empty, and the material with the index.
func secrets(in Input) []client.Object {
	var objects []client.Object
	for shard, files := range in.Files.Keys {
		if len(files) > 0 {
			objects = append(objects, secret(in, keysName(in.Relay.Name, shard), files))
		}
	}
	material := maps.Clone(in.Files.Material)
	material[config.IndexFile] = in.Index
	if in.Shares != nil {
		material[SharesKey] = in.Shares
	}
	return append(objects, secret(in, MaterialName(in.Relay.Name), material))
}

func secret(in Input, name string, files map[string][]byte) client.Object {
	return &corev1.Secret{
		TypeMeta:   typeMeta("v1", "Secret"),
		ObjectMeta: meta(in, name),
		Type:       corev1.SecretTypeOpaque,
		Data:       files,
	}
}
