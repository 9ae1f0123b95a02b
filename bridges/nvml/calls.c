//go:build linux && cgo && (amd64 || arm64)

/* go-nvml leaves some 400 NVML functions undefined and expects the dynamic linker to find them at the first call. With
 * LD_BIND_NOW=1, or a compiler that links with -z now, the linker looks for all of them when the process starts and ends
 * it. So each function is defined here and looks for the real one when it is called. It is hidden: a symbol of that name
 * in our executable's table would stand before the library's own.
 *
 * One signature serves all: NVML's functions take at most six integers, pointers or one-pointer structs, which amd64 and
 * arm64 pass in registers, and return an int or a pointer. TestNVMLFunctionsAreDefined fails when go-nvml calls a function
 * that calls.h lacks; run `go generate` then.
 *
 * dlsym is asked at each call: an address could outlive its library. Asked with RTLD_DEFAULT it keeps the library in
 * memory, as the dynamic linker does for a symbol that it bound. */
#define _GNU_SOURCE
#include <dlfcn.h>

enum { FUNCTION_NOT_FOUND = 13 }; // NVML_ERROR_FUNCTION_NOT_FOUND

#define HIDDEN __attribute__((visibility("hidden")))

typedef long (*function)(long, long, long, long, long, long);

// missing answers for a function that the library lacks; nvmlErrorString is the one that returns text.
static long missing(const char *name) {
	static const char text[] = "the NVIDIA driver has no text for this error";
	return name[4] == 'E' && name[5] == 'r' ? (long)text : FUNCTION_NOT_FOUND;
}

#define CALL(name)                                                      \
	HIDDEN long name(long a, long b, long c, long d, long e, long f) {  \
		function real = (function)dlsym(RTLD_DEFAULT, #name);           \
		return real ? real(a, b, c, d, e, f) : missing(#name);          \
	}

#include "calls.h"
