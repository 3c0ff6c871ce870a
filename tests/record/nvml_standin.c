/* A stand-in for libnvidia-ml.so.1: two GPUs, of which the second one runs this process.
   The environment says what goes wrong: AISEC_NVML_FAULT = init | processes | lost. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process_t;

static int fault(const char *name) {
    const char *is = getenv("AISEC_NVML_FAULT");
    return is && !strcmp(is, name);
}
int nvmlInitWithFlags(unsigned flags) { return fault("init") ? 9 : 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { strncpy(out, "580.95.05", size); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)(unsigned long)(index + 1);
    return fault("lost") && index == 1 ? 15 : 0;
}
int nvmlDeviceGetName(void *device, char *out, unsigned size) {
    strncpy(out, "NVIDIA H100 80GB HBM3", size);
    return 0;
}
int nvmlDeviceGetUUID(void *device, char *out, unsigned size) {
    strncpy(out, "GPU-00000000-0000-0000-0000-000000000000", size);
    out[39] = '0' + (char)(unsigned long)device;
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    memory->total = 85899345920ULL;
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process_t *out) {
    if (fault("processes")) return 4;
    if ((unsigned long)device == 1) { *count = 0; return 0; }
    if (!out) { *count = 1; return 7; }
    *count = 1;
    out[0].pid = (unsigned)getpid();
    return 0;
}
