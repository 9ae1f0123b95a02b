/* A driver of 2018 with one card, as a library that the real loader opens. It has none of the symbols that came
 * later. */
#include <string.h>
typedef int ret;
typedef void *device;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned pid; unsigned long long used; } process;

static int card;
static ret say(char *to, unsigned room, const char *text) { strncpy(to, text, room); return 0; }

ret nvmlInit_v2(void) { return 0; }
ret nvmlShutdown(void) { return 0; }
ret nvmlSystemGetDriverVersion(char *to, unsigned room) { return say(to, room, "390.1"); }
ret nvmlSystemGetNVMLVersion(char *to, unsigned room) { return say(to, room, "9.390.1"); }
ret nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }
ret nvmlDeviceGetHandleByIndex_v2(unsigned i, device *d) { *d = &card; return 0; }
ret nvmlDeviceGetUUID(device d, char *to, unsigned room) { return say(to, room, "GPU-fake"); }
ret nvmlDeviceGetName(device d, char *to, unsigned room) { return say(to, room, "Fake GTX"); }
ret nvmlDeviceGetMemoryInfo(device d, memory *m) { m->total = 8ull << 30; m->used = 1ull << 30; m->free = 7ull << 30; return 0; }
ret nvmlDeviceGetComputeRunningProcesses(device d, unsigned *n, process *p) {
	if (*n < 1) return 7;
	*n = 1; p[0].pid = 42; p[0].used = 5 << 20;
	return 0;
}
