/* Writes responses that are known beforehand to sockets at their due times, from one thread of its own.
 *
 * A track is the bytes of a response cut into steps, each with a due time. Whoever calls track_play owns nothing of
 * it until player_finished gives it back, once, whether it was played to its end, dropped, or its socket broke; then
 * track_free frees it. Times are nanoseconds of CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_BUCKETS 32
#define WRITES_A_TURN 64       /* then tracks that came in meanwhile are taken */
#define RETRY_NS 1000000       /* a socket that takes nothing is tried again after so long */

typedef struct track {
    struct track *next;
    int fd;
    int64_t steps, step, written, start_ns;
    int64_t *offset_ns;        /* from start_ns, ascending; of a step that was written the time it was */
    const int64_t *end;        /* in bytes, exclusive */
    const char *bytes;
    atomic_int dropped;
    int whole;
} track;

typedef struct {
    int64_t due_ns;
    track *track;
} entry;

typedef struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    track *inbox, *done;       /* under lock */
    int closing;               /* under lock */
    int event_fd;              /* readable when there are finished tracks */
    entry *heap;               /* the thread's alone, as what follows */
    size_t n, room;
    int buckets;
    int64_t bound_ns[MOST_BUCKETS];
    _Atomic int64_t count[MOST_BUCKETS + 1], total_ns, worst_ns;
} player;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sift_down(player *p) {
    entry moved = p->heap[0];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < p->n) {
        if (child + 1 < p->n && p->heap[child + 1].due_ns < p->heap[child].due_ns) child++;
        if (p->heap[child].due_ns >= moved.due_ns) break;
        p->heap[at] = p->heap[child];
        at = child;
    }
    p->heap[at] = moved;
}

static void push(player *p, track *t) {
    if (p->n == p->room) {
        p->room = p->room ? 2 * p->room : 1024;
        p->heap = realloc(p->heap, p->room * sizeof *p->heap);
        if (!p->heap) abort();
    }
    entry added = {t->start_ns + t->offset_ns[0], t};
    size_t at = p->n++;
    while (at && p->heap[(at - 1) / 2].due_ns > added.due_ns) {
        p->heap[at] = p->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    p->heap[at] = added;
}

static void count_lateness(player *p, int64_t late_ns) {
    int i = 0;
    while (i < p->buckets && late_ns > p->bound_ns[i]) i++;
    p->count[i]++;
    p->total_ns += late_ns;
    if (late_ns > p->worst_ns) p->worst_ns = late_ns;
}

static void finish_first(player *p) {
    track *t = p->heap[0].track;
    p->heap[0] = p->heap[--p->n];
    if (p->n) sift_down(p);
    close(t->fd);
    pthread_mutex_lock(&p->lock);
    t->next = p->done;
    p->done = t;
    pthread_mutex_unlock(&p->lock);
    uint64_t one = 1;
    (void)!write(p->event_fd, &one, sizeof one);
}

/* Writes the step that is due first; the time after it. */
static int64_t play_first(player *p) {
    track *t = p->heap[0].track;
    if (t->dropped) {
        finish_first(p);
        return now_ns();
    }
    ssize_t sent = send(t->fd, t->bytes + t->written, t->end[t->step] - t->written, MSG_DONTWAIT | MSG_NOSIGNAL);
    int64_t now = now_ns();
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        finish_first(p);
        return now;
    }
    if (sent > 0) t->written += sent;
    if (t->written < t->end[t->step]) {
        p->heap[0].due_ns = now + RETRY_NS;
        sift_down(p);
        return now;
    }
    count_lateness(p, now - t->start_ns - t->offset_ns[t->step]);
    t->offset_ns[t->step] = now;
    if (++t->step == t->steps) {
        t->whole = 1;
        finish_first(p);
    } else {
        p->heap[0].due_ns = t->start_ns + t->offset_ns[t->step];
        sift_down(p);
    }
    return now;
}

static void *play(void *given) {
    player *p = given;
    /* The default slack lets the kernel wake a thread 50 microseconds late. */
    prctl(PR_SET_TIMERSLACK, 1UL);
    for (;;) {
        pthread_mutex_lock(&p->lock);
        while (!p->inbox && !p->closing && (!p->n || p->heap[0].due_ns > now_ns())) {
            if (p->n) {
                int64_t at = p->heap[0].due_ns;
                struct timespec until = {at / 1000000000, at % 1000000000};
                pthread_cond_timedwait(&p->wake, &p->lock, &until);
            } else {
                pthread_cond_wait(&p->wake, &p->lock);
            }
        }
        track *taken = p->inbox;
        p->inbox = NULL;
        int closing = p->closing;
        pthread_mutex_unlock(&p->lock);
        if (closing) return NULL;
        while (taken) {
            track *next = taken->next;
            push(p, taken);
            taken = next;
        }
        int64_t now = now_ns();
        for (int i = 0; i < WRITES_A_TURN && p->n && p->heap[0].due_ns <= now; i++) now = play_first(p);
    }
}

/* A player whose lateness is counted in `buckets` classes up to the given bounds and one above; NULL on failure. */
player *player_open(int buckets, const int64_t *bound_ns) {
    player *p = calloc(1, sizeof *p);
    if (!p || buckets > MOST_BUCKETS) return NULL;
    p->buckets = buckets;
    memcpy(p->bound_ns, bound_ns, buckets * sizeof *bound_ns);
    p->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, &clock);
    if (p->event_fd < 0 || pthread_create(&p->thread, NULL, play, p)) return NULL;
    return p;
}

int player_event_fd(const player *p) { return p->event_fd; }

/* Starts a response; bytes and steps are copied, the socket is duplicated. NULL when there is no memory or no file. */
track *track_play(player *p, int fd, int64_t start_ns, int64_t steps, const int64_t *offset_ns, const int64_t *end,
                  const char *bytes) {
    size_t times = steps * sizeof(int64_t), size = end[steps - 1];
    char *block = malloc(sizeof(track) + 2 * times + size);
    int own = dup(fd);
    if (!block || own < 0) {
        free(block);
        if (own >= 0) close(own);
        return NULL;
    }
    track *t = (track *)block;
    char *offsets = block + sizeof(track), *ends = offsets + times, *copy = ends + times;
    memcpy(offsets, offset_ns, times);
    memcpy(ends, end, times);
    memcpy(copy, bytes, size);
    *t = (track){.fd = own, .steps = steps, .start_ns = start_ns, .offset_ns = (int64_t *)offsets,
                 .end = (int64_t *)ends, .bytes = copy};
    pthread_mutex_lock(&p->lock);
    t->next = p->inbox;
    p->inbox = t;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    return t;
}

/* Lets a track end at its next step. */
void track_drop(track *t) { t->dropped = 1; }

/* Whether a finished track was played to its end. */
int track_whole(const track *t) { return t->whole; }

/* When the steps of a finished track were written; how many of them were. */
int64_t track_written(const track *t, const int64_t **at_ns) {
    *at_ns = t->offset_ns;
    return t->step;
}

void track_free(track *t) { free(t); }

/* The next finished track, NULL without one. */
track *player_finished(player *p) {
    pthread_mutex_lock(&p->lock);
    track *t = p->done;
    if (t) p->done = t->next;
    pthread_mutex_unlock(&p->lock);
    return t;
}

/* Writes the counts of all classes; total and worst lateness. */
void player_lateness(player *p, int64_t *count, int64_t *total_ns, int64_t *worst_ns) {
    for (int i = 0; i <= p->buckets; i++) count[i] = p->count[i];
    *total_ns = p->total_ns;
    *worst_ns = p->worst_ns;
}

/* Ends the thread. Tracks under way are left as they are: the process is about to end. */
void player_close(player *p) {
    pthread_mutex_lock(&p->lock);
    p->closing = 1;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
}
