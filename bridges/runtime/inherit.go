package runtime

import (
	"regexp"
	"slices"
	"strings"

	"modelops/messages"
)

// inheritedNames are the variables that a worker gets from our environment. A name that ends in * is a prefix. They are what programs need to find
// themselves, their libraries, devices and caches; a declaration's env passes on others by their names.
var inheritedNames = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "PWD", "LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR", "TMPDIR", "TMP", "TEMP", "XDG_*", "LD_*",
	"PYTHON*", "VIRTUAL_ENV", "CONDA_*", "NIX_*", "JAVA_HOME", "NODE_*", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"CUDA_*", "CUDNN_*", "NVIDIA_*", "NCCL_*", "HIP_*", "ROCR_*", "ROCM_*", "ROC_*", "HSA_*", "GPU_*", "AMD_*", "ONEAPI_*", "ZE_*", "ZES_*", "SYCL_*", "INTEL_*", "VK_*", "MESA_*",
	"GGML_*", "LLAMA_*", "WHISPER_*", "VLLM_*", "OLLAMA_*", "TORCH*", "PYTORCH_*", "TRITON_*", "TENSORRT_*", "TRANSFORMERS_*", "HF_*", "HUGGINGFACE_*", "TOKENIZERS_*", "SAFETENSORS_*",
	"OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "NUMEXPR_*", "MALLOC_*", "TCMALLOC*", "RAY_*", "DOCKER*", "CONTAINER*", "PODMAN_*", "DBUS_SESSION_BUS_ADDRESS",
}

// container are the variables of clients of container engines, which start workers elsewhere.
var container = regexp.MustCompile(`(?i)docker|podman|containerd`)

// inherits tells whether a worker gets this variable of our environment although its declaration doesn't name it.
func (r *Runtime) inherits(name string) bool {
	if strings.HasPrefix(name, "MODELOPS_") || slices.Contains(r.o.Withheld, name) {
		return false
	}
	if matches(r.o.PassEnv, name) {
		return true
	}
	if messages.SecretName(name) {
		return false
	}
	return container.MatchString(name) || matches(inheritedNames, name)
}

func matches(names []string, name string) bool {
	return slices.ContainsFunc(names, func(allowed string) bool {
		prefix, many := strings.CutSuffix(allowed, "*")
		return name == allowed || many && strings.HasPrefix(name, prefix)
	})
}
