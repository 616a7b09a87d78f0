/* A pretended CUDA runtime (-DRUNTIME) and cuDLA library for tests, written from the documented signatures alone.

   Work is queued and done when the stream is waited for. Each break of the rules of order and lifetime is a line in the
   list of faults. A loadable of the stand-in is "STND", the numbers of inputs, outputs and statistics, and descriptors.
   A task calls the function that the test set, or copies the first input to the first output. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*work_t)(void *);
void standin_fault(const char *text);
void standin_queue(work_t work, void *data);
size_t standin_size(void *address);
int standin_context(void), standin_pending(void);
extern int standin_tasks;
extern int standin_failure; /* what the next wait answers, once */

#ifdef RUNTIME
#define MANY 4096
static struct { void *address; size_t size; } memory[MANY];
static struct { work_t work; void *data; } queue[MANY];
static int context, pending, streams, events;
int standin_tasks; /* how many were done */
float standin_ramp; /* milliseconds that a task takes longer than the one before */
static char faults[65536];
int standin_failure;

void standin_fault(const char *text) { strncat(strncat(faults, text, 400), "\n", 2); }
const char *standin_faults(void) { return faults; }
void standin_reset(void) { faults[0] = 0; standin_failure = 0; standin_ramp = 0; }
int standin_context(void) { return context; }
int standin_pending(void) { return pending; }
int standin_held(void) {
    int count = streams + events;
    for (int i = 0; i < MANY; i++) count += memory[i].address != NULL;
    return count;
}
size_t standin_size(void *address) {
    for (int i = 0; i < MANY; i++) if (address && memory[i].address == address) return memory[i].size;
    return 0;
}
void standin_queue(work_t work, void *data) { queue[pending].work = work; queue[pending++].data = data; }

int cudaSetDevice(int device) { context |= 2; return device ? 101 : 0; }
int cudaMalloc(void **out, size_t size) {
    for (int i = 0; i < MANY; i++) if (!memory[i].address) {
        *out = memory[i].address = aligned_alloc(64, (size + 63) / 64 * 64);
        memset(*out, 0xA5, memory[i].size = size);
        return 0;
    }
    return 2;
}
void *standin_registered_address;
int cudaFree(void *address) {
    context |= 1;
    if (!address) return 0;
    if (pending) standin_fault("free with work in flight");
    for (int i = 0; i < MANY; i++) if (memory[i].address == address) {
        extern int (*standin_is_registered)(void *);
        if (standin_is_registered && standin_is_registered(address)) standin_fault("free of registered memory");
        free(address); memory[i].address = NULL; return 0;
    }
    standin_fault("double free"); return 1;
}
int (*standin_is_registered)(void *);
typedef struct { void *to; const void *from; size_t size; int value; } move_t;
static void move(void *data) {
    move_t *m = data;
    if (m->from) memcpy(m->to, m->from, m->size); else memset(m->to, m->value, m->size);
    free(m);
}
static int add(void *to, const void *from, size_t size, int value) {
    move_t *m = malloc(sizeof *m);
    m->to = to; m->from = from; m->size = size; m->value = value;
    standin_queue(move, m); return 0;
}
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    void *device = kind == 1 ? to : (void *)from;
    if (standin_size(device) < size || !stream) { standin_fault("copy beyond device memory"); return 1; }
    return add(to, from, size, 0);
}
int cudaMemsetAsync(void *to, int value, size_t size, void *stream) {
    if (standin_size(to) < size || !stream) { standin_fault("memset beyond device memory"); return 1; }
    return add(to, NULL, size, value);
}
int cudaStreamCreateWithFlags(void **out, unsigned flags) {
    if (flags != 1) standin_fault("blocking stream");
    *out = malloc(1); streams++; return 0;
}
int cudaStreamCreate(void **out) { context |= 1; *out = malloc(1); streams++; return 0; }
void standin_forget_stream(void) { streams--; }
int cudaStreamDestroy(void *stream) { free(stream); streams--; return 0; }
int cudaStreamSynchronize(void *stream) {
    for (int i = 0; i < pending; i++) queue[i].work(queue[i].data);
    pending = 0;
    int failed = standin_failure; standin_failure = 0;
    return failed ? 911 : 0;
}
int cudaEventCreate(int **out) { *out = malloc(sizeof(int)); **out = -1; events++; return 0; }
int cudaEventDestroy(void *event) { free(event); events--; return 0; }
static void pass(void *event) { *(int *)event = standin_tasks; }
int cudaEventRecord(void *event, void *stream) { standin_queue(pass, event); return event && stream ? 0 : 1; }
int cudaEventElapsedTime(float *out, int *start, int *end) {
    if (pending) standin_fault("time asked before the wait");
    if (*start < 0 || *end < 0) standin_fault("time of an event that did not pass");
    *out = (*end - *start) * (1.5f + standin_ramp * *start); return start == end;
}
const char *cudaGetErrorName(int status) { return status == 911 ? "cudaErrorExternalDevice" : "cudaErrorPretended"; }
#else
typedef struct {
    char name[81]; uint64_t size, n, c, h, w; uint8_t kinds[5]; uint32_t stride[8];
} tensor_t;
typedef struct {
    void *module; uint64_t **outputs; uint32_t numOutputs, numInputs; uint64_t **inputs; void *wait, *signal;
} task_t;
typedef struct { uint32_t handles; const uint8_t *bytes; size_t size; uint32_t counts[3]; int loaded, used; } device_t;
typedef struct { void *address; uint32_t flags; device_t *device; } entry_t;
static entry_t *entries[4096];
static device_t *current;
static int handles, last_error, refusal;
static void (*compute)(void **, void **);
uint64_t standin_cores = 2;
void standin_set_compute(void (*function)(void **, void **)) { compute = function; }
void standin_set_error(int status) { last_error = status; standin_failure = status; }
void standin_refuse(int status) { refusal = status; } /* what the next handle is refused with, once */
int standin_handles(void) { return handles; }

static int is_registered(void *address) {
    for (int i = 0; i < 4096; i++) if (entries[i] && entries[i]->address == address) return 1;
    return 0;
}
static entry_t *entry_of(void *registered) {
    for (int i = 0; i < 4096; i++) if (entries[i] && (void *)entries[i] == registered) return entries[i];
    return NULL;
}
extern int (*standin_is_registered)(void *);
static int in_use(void) { for (int i = 0; i < 4096; i++) if (entries[i]) return 1; return 0; }

int cudlaGetVersion(uint64_t *out) { *out = 2005001; return 0; }
int cudlaDeviceGetCount(uint64_t *out) { *out = standin_cores; return 0; }
int cudlaCreateDevice(uint64_t core, void **out, uint32_t flags) {
    if (!(standin_context() & 1)) { standin_fault("handle before the CUDA context"); return 3; }
    if (core >= standin_cores || flags) return 8;
    if (refusal) { int status = refusal; refusal = 0; return status; }
    standin_is_registered = is_registered;
    *out = current = calloc(1, sizeof(device_t)); handles++; return 0;
}
int cudlaDestroyDevice(device_t *device) {
    if (device->loaded) standin_fault("destroyed with a module loaded");
    if (in_use()) standin_fault("destroyed with memory registered");
    if (standin_pending()) standin_fault("destroyed with a task in flight");
    free(device); current = NULL; handles--; return 0;
}
int cudlaModuleLoadFromMemory(device_t *device, const uint8_t *bytes, size_t size, void **out, uint32_t flags) {
    if (device->used) return 13;
    if (size < 16 || memcmp(bytes, "STND", 4) || flags) return 7;
    memcpy(device->counts, bytes + 4, 12);
    device->bytes = bytes; device->size = size; device->loaded = device->used = 1;
    *out = device; return 0;
}
int cudlaModuleGetAttributes(device_t *module, int32_t what, void *out) {
    static const int order[] = {0, 1, 0, 1, 2, 2};
    if (!module->loaded || what < 0 || what > 5) return 9;
    int kind = order[what];
    if (what == 0 || what == 1 || what == 4) { memcpy(out, &module->counts[kind], 4); return 0; }
    size_t skip = 16;
    for (int i = 0; i < kind; i++) skip += module->counts[i] * sizeof(tensor_t);
    memcpy(*(void **)out, module->bytes + skip, module->counts[kind] * sizeof(tensor_t)); return 0;
}
int cudlaModuleUnload(device_t *module, uint32_t flags) {
    if (flags || !module->loaded) { standin_fault("unloaded twice"); return 12; }
    if (in_use()) standin_fault("unloaded with memory registered");
    module->loaded = 0; return 0;
}
int cudlaMemRegister(device_t *device, void *address, size_t size, void **out, uint32_t flags) {
    if (standin_size(address) != size) { standin_fault("register of foreign memory"); return 1; }
    if (is_registered(address)) return 11;
    for (int i = 0; i < 4096; i++) if (!entries[i]) {
        entries[i] = malloc(sizeof(entry_t));
        entries[i]->address = address; entries[i]->flags = flags; entries[i]->device = device;
        *out = entries[i]; return 0;
    }
    return 2;
}
int cudlaMemUnregister(device_t *device, void *registered) {
    for (int i = 0; i < 4096; i++) if (entries[i] && (void *)entries[i] == registered) {
        if (!device->loaded) standin_fault("unregistered after the unload");
        free(entries[i]); entries[i] = NULL; return 0;
    }
    standin_fault("unregister of what is not registered"); return 4;
}
typedef struct { void *in[128], *out[128]; size_t bytes; uint32_t statistics, first; } job_t;
static void perform(void *data) {
    job_t *job = data;
    if (compute) compute(job->in, job->out); else memcpy(job->out[0], job->in[0], job->bytes);
    for (uint32_t i = 0; i < job->statistics; i++) memcpy(job->out[job->first + i], "STAT", 4);
    free(job); standin_tasks++;
}
int cudlaSubmitTask(device_t *device, task_t *task, uint32_t count, void *stream, uint32_t flags) {
    if (count != 1 || !stream || flags || task->wait || task->signal) return 1;
    if (task->module != device || !device->loaded) { standin_fault("task without its module"); return 12; }
    uint32_t statistics = task->numOutputs - device->counts[1];
    if (task->numInputs != device->counts[0] || (statistics && statistics != device->counts[2])) {
        standin_fault("inputs and outputs mixed up"); return 1;
    }
    const tensor_t *tensors = (const tensor_t *)(device->bytes + 16);
    job_t *job = calloc(1, sizeof *job);
    job->statistics = statistics; job->first = device->counts[1];
    for (uint32_t i = 0; i < task->numInputs + task->numOutputs; i++) {
        int output = i >= task->numInputs;
        uint32_t place = output ? i - task->numInputs : i;
        entry_t *entry = entry_of(output ? (void *)task->outputs[place] : (void *)task->inputs[place]);
        if (!entry) { standin_fault("task with a pointer that is not registered"); return 4; }
        if (standin_size(entry->address) != tensors[i].size) { standin_fault("memory of another size"); return 1; }
        if ((entry->flags == 2) != (output && place >= device->counts[1])) { standin_fault("flags of statistics"); return 1; }
        (output ? job->out : job->in)[place] = entry->address;
    }
    job->bytes = tensors[0].size < tensors[task->numInputs].size ? tensors[0].size : tensors[task->numInputs].size;
    standin_queue(perform, job); return 0;
}
int cudlaGetLastError(device_t *device) { int found = last_error; last_error = 0; return found; }
#ifndef OLD
static int translate(device_t *device, const char *raw, uint32_t mhz, uint32_t index, int what, void *place) {
    char text[200];
    if (memcmp(raw, "STAT", 4)) { standin_fault("statistics that no task wrote"); return 1; }
    int length = snprintf(text, sizeof text, "layer,microseconds\nconv%u,%.2f\n", index, 1e3 / mhz);
    if (what == 0) *(uint64_t *)place = length; else memcpy(*(char **)place, text, length);
    return 0;
}
int cudlaGetExternalExportTable(const void **out, uint32_t flags) {
    static void *table[] = {translate, NULL};
    *out = table; return flags != 0;
}
#endif
#endif
