package process

import (
	"regexp"
	"slices"
	"strings"

	"modelops/messages"
)

// inheritedNames are the variables that a child gets from our environment. A name that ends in * is a prefix. They are what programs need to find
// themselves, their libraries, devices and caches; a declaration's env passes on others by their names.
var inheritedNames = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "PWD", "LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR", "TMPDIR", "TMP", "TEMP", "XDG_*", "LD_*",
	"PYTHON*", "VIRTUAL_ENV", "CONDA_*", "NIX_*", "JAVA_HOME", "NODE_*", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"CUDA_*", "CUDNN_*", "NVIDIA_*", "NCCL_*", "HIP_*", "ROCR_*", "ROCM_*", "ROC_*", "HSA_*", "GPU_*", "AMD_*", "ONEAPI_*", "ZE_*", "ZES_*", "SYCL_*", "INTEL_*", "VK_*", "MESA_*",
	"GGML_*", "LLAMA_*", "WHISPER_*", "VLLM_*", "OLLAMA_*", "TORCH*", "PYTORCH_*", "TRITON_*", "TENSORRT_*", "TRANSFORMERS_*", "HF_*", "HUGGINGFACE_*", "TOKENIZERS_*", "SAFETENSORS_*",
	"OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "NUMEXPR_*", "MALLOC_*", "TCMALLOC*", "RAY_*", "DOCKER*", "CONTAINER*", "PODMAN_*", "DBUS_SESSION_BUS_ADDRESS",
}

// container are the variables of clients of container engines, which start programs elsewhere.
var container = regexp.MustCompile(`(?i)docker|podman|containerd`)

// Environment is the value of each variable.
type Environment map[string]string

// NewEnvironment makes it of pairs NAME=value; of two with one name the later one counts.
func NewEnvironment(pairs []string) Environment {
	e := make(Environment, len(pairs))
	for _, p := range pairs {
		if name, value, ok := strings.Cut(p, "="); ok {
			e[name] = value
		}
	}
	return e
}

// Inherited is what a child gets of our environment although nothing that declares it names the variable: an allow-list of what programs need, and pass, but
// never what is withheld. A name that ends in * is a prefix.
func (e Environment) Inherited(pass, withheld []string) Environment {
	out := Environment{}
	for name, value := range e {
		if inherits(name, pass, withheld) {
			out[name] = value
		}
	}
	return out
}

func inherits(name string, pass, withheld []string) bool {
	if strings.HasPrefix(name, "MODELOPS_") || slices.Contains(withheld, name) {
		return false
	}
	if fits(pass, name) {
		return true
	}
	if messages.SecretName(name) {
		return false
	}
	return container.MatchString(name) || fits(inheritedNames, name)
}

func fits(names []string, name string) bool {
	return slices.ContainsFunc(names, func(allowed string) bool {
		prefix, many := strings.CutSuffix(allowed, "*")
		return name == allowed || many && strings.HasPrefix(name, prefix)
	})
}
