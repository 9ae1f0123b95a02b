/* A driver whose mood a file says: its first word is one of
 *   two         two cards of 24 GiB
 *   shared      a GPU without memory of its own
 *   lost        two cards, the second has fallen off the bus
 *   mig         a card in MIG mode with instances of 10 and 20 GiB, and a whole card
 *   empty       a card in MIG mode without an instance
 *   silent      two cards that tell no process memory, and hold 6 GiB of the first
 *   mismatch    the kernel module is of another version: init fails, and all calls
 *   denied      the devices may not be opened
 *   zero        two cards, the second reports no memory
 *   jump        two cards that report another use at each call, sometimes more than there is
 * The file is read at every call, so that a test changes the mood of a running program. Its path is in FAKE_NVML. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int ret;
typedef struct thing { int card, mig; } *device;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory2;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process;

static struct thing things[] = {{0, -1}, {1, -1}, {0, 0}, {0, 2}};

static int is(const char *mood) {
	char word[32] = "two";
	const char *path = getenv("FAKE_NVML");
	FILE *f = path ? fopen(path, "r") : 0;
	if (f) { if (fscanf(f, "%31s", word) != 1) strcpy(word, "two"); fclose(f); }
	return !strcmp(word, mood);
}
static ret mood(device d) {
	if (is("mismatch")) return 18;
	if (d && d->card == 1 && is("lost")) return 15;
	return 0;
}
static ret say(char *to, unsigned room, const char *text) { snprintf(to, room, "%s", text); return 0; }

ret nvmlInit_v2(void) { return is("denied") ? 4 : mood(0); }
ret nvmlInitWithFlags(unsigned flags) { return nvmlInit_v2(); }
ret nvmlShutdown(void) { return 0; }
ret nvmlSystemGetDriverVersion(char *to, unsigned room) { return say(to, room, "580.1"); }
ret nvmlSystemGetNVMLVersion(char *to, unsigned room) { return say(to, room, "13.580.1"); }
ret nvmlDeviceGetCount_v2(unsigned *n) { *n = is("shared") || is("empty") ? 1 : 2; return mood(0); }
ret nvmlDeviceGetHandleByIndex_v2(unsigned i, device *d) { *d = &things[i]; return mood(0); }
ret nvmlDeviceGetUUID(device d, char *to, unsigned room) {
	if (d->mig >= 0) snprintf(to, room, "MIG-%08d-0000-0000-0000-000000000000", d->mig);
	else snprintf(to, room, "GPU-%08d-0000-0000-0000-000000000000", d->card);
	return mood(d);
}
ret nvmlDeviceGetName(device d, char *to, unsigned room) { say(to, room, "Fake GPU"); return mood(d); }
ret nvmlDeviceGetMigMode(device d, unsigned *now, unsigned *pending) {
	if (d->card != 0 || d->mig >= 0 || !(is("mig") || is("empty"))) return 3;
	*now = *pending = 1;
	return mood(d);
}
ret nvmlDeviceGetMaxMigDeviceCount(device d, unsigned *n) { *n = 7; return mood(d); }
ret nvmlDeviceGetMigDeviceHandleByIndex(device d, unsigned i, device *out) {
	if (is("empty") || (i != 0 && i != 2)) return 6;
	*out = i ? &things[3] : &things[2];
	return mood(d);
}
ret nvmlDeviceGetGpuInstanceId(device d, unsigned *id) { *id = d->mig + 5; return mood(d); }
static ret fill(device d, unsigned long long *total, unsigned long long *used) {
	static unsigned calls;
	if (is("shared")) return 3;
	*total = (d->mig == 0 ? 10ULL : d->mig == 2 ? 20ULL : 24ULL) << 30;
	*used = 0;
	if (is("zero") && d->card == 1) *total = 0;
	if (is("silent") && d->card == 0) *used = 6ULL << 30;
	if (is("jump")) *used = (calls++ % 3 == 2) ? ~0ULL : (unsigned long long)(calls % 3) << 33;
	return mood(d);
}
ret nvmlDeviceGetMemoryInfo(device d, memory *m) { return fill(d, &m->total, &m->used); }
ret nvmlDeviceGetMemoryInfo_v2(device d, memory2 *m) { m->reserved = 0; return fill(d, &m->total, &m->used); }
ret nvmlDeviceGetComputeRunningProcesses_v3(device d, unsigned *n, process *p) {
	if (is("silent") && d->card == 0) {
		if (*n < 1) { *n = 1; return 7; }
		*n = 1;
		p[0].pid = 1; p[0].used = ~0ULL; p[0].gi = p[0].ci = ~0U;
		return 0;
	}
	*n = 0;
	return mood(d);
}
ret nvmlDeviceGetGraphicsRunningProcesses_v3(device d, unsigned *n, process *p) { *n = 0; return mood(d); }
