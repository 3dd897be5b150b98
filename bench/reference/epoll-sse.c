// Reference: the least that a push server can cost. C, one thread, one epoll loop, one table of channels.
//
// Speaks the part of Longwire's surface that the benchmarks use: GET /sse/{channel}, POST /api/publish and /api/broadcast
// (JSON without escapes), GET /healthz. Everything a connection needs is in an array indexed by descriptor: 72 bytes, of which
// untouched pages cost nothing. A publication is encoded once and written to each subscriber in turn; what the kernel does
// not take is kept in a buffer of the connection's own until the socket is writable again. Bounds: OUTBOX_LIMIT bytes wait
// for one connection, INPUT_LIMIT bytes for one request; a connection that passes them is closed.
//
// Usage: PORT=3000 epoll-sse. Ends on any signal.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  NAME_LIMIT = 32,
  INPUT_LIMIT = 1 << 20,
  OUTBOX_LIMIT = 8 << 20,
  BUCKETS = 1 << 15,
  EVENTS = 512,
  BACKLOG = 4096
};

// A connection. `next` and `previous` link the subscribers of one bucket; -1 is none.
struct connection {
  char channel[NAME_LIMIT];
  char *input;   // a request that is not yet whole, NULL while idle
  char *outbox;  // what the kernel has not yet taken, NULL while idle
  uint32_t input_length, outbox_length;
  int32_t next, previous, bucket;
  uint32_t hash;
};

static struct connection *connections;
static int descriptor_limit;
static int32_t buckets[BUCKETS];
static int epoll_fd;
static char scratch[INPUT_LIMIT + 1];
static char frame[INPUT_LIMIT + 16];

static const char stream_head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n";
static const char answer_ok[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"result\":{}}";
static const char answer_not_found[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

static uint32_t hash_of(const char *name, size_t length) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)name[i]) * 16777619u;
  return hash;
}

static void close_connection(int fd) {
  struct connection *c = &connections[fd];
  if (c->bucket >= 0) {
    if (c->previous >= 0) connections[c->previous].next = c->next;
    else buckets[c->bucket] = c->next;
    if (c->next >= 0) connections[c->next].previous = c->previous;
  }
  free(c->input);
  free(c->outbox);
  *c = (struct connection){.next = -1, .previous = -1, .bucket = -1};  // an event that still waits for it finds nothing
  close(fd);
}

// Writes, or keeps what the kernel does not take. Returns -1 when the connection has to go.
static int send_to(int fd, const char *bytes, size_t length) {
  struct connection *c = &connections[fd];
  if (c->outbox == NULL) {
    ssize_t sent = write(fd, bytes, length);
    if (sent == (ssize_t)length) return 0;
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent > 0) bytes += sent, length -= (size_t)sent;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event);
  }
  if (c->outbox_length + length > OUTBOX_LIMIT) return -1;
  char *outbox = realloc(c->outbox, c->outbox_length + length);
  if (outbox == NULL) return -1;
  memcpy(outbox + c->outbox_length, bytes, length);
  c->outbox = outbox;
  c->outbox_length += (uint32_t)length;
  return 0;
}

static int flush_outbox(int fd) {
  struct connection *c = &connections[fd];
  if (c->outbox == NULL) return 0;
  ssize_t sent = write(fd, c->outbox, c->outbox_length);
  if (sent < 0) return errno == EAGAIN ? 0 : -1;
  c->outbox_length -= (uint32_t)sent;
  memmove(c->outbox, c->outbox + sent, c->outbox_length);
  if (c->outbox_length > 0) return 0;
  free(c->outbox);
  c->outbox = NULL;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  return epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

static int subscribe(int fd, const char *name, size_t length) {
  struct connection *c = &connections[fd];
  if (length == 0 || length >= NAME_LIMIT || c->bucket >= 0) return -1;
  memcpy(c->channel, name, length);
  c->channel[length] = 0;
  c->hash = hash_of(name, length);
  c->bucket = (int32_t)(c->hash % BUCKETS);
  c->previous = -1;
  c->next = buckets[c->bucket];
  if (c->next >= 0) connections[c->next].previous = fd;
  buckets[c->bucket] = fd;
  return send_to(fd, stream_head, sizeof stream_head - 1);
}

static void publish(const char *name, size_t length, size_t frame_length) {
  uint32_t hash = hash_of(name, length);
  for (int32_t fd = buckets[hash % BUCKETS], next; fd >= 0; fd = next) {
    struct connection *c = &connections[fd];
    next = c->next;
    if (c->hash != hash || strlen(c->channel) != length || memcmp(c->channel, name, length) != 0) continue;
    if (send_to(fd, frame, frame_length) < 0) close_connection(fd);
  }
}

// POST body: {"channel":"a","data":"x"} or {"channels":["a","b"],"data":"x"}.
static int call(char *body) {
  char *data = strstr(body, "\"data\":\"");
  char *names = strstr(body, "\"channel");
  if (data == NULL || names == NULL) return -1;
  data += 8;
  char *data_end = strchr(data, '"');
  names = strchr(names, ':');
  if (data_end == NULL || names == NULL) return -1;
  size_t frame_length = (size_t)sprintf(frame, "data: %.*s\n\n", (int)(data_end - data), data);
  int many = *++names == '[';
  for (names += many; *names == '"';) {
    char *end = strchr(names + 1, '"');
    if (end == NULL) return -1;
    publish(names + 1, (size_t)(end - names - 1), frame_length);
    names = end + 1;
    if (!many || *names != ',') break;
    names++;
  }
  return 0;
}

// One whole request of `length` bytes, terminated by a NUL. Returns -1 when the connection has to go.
static int answer(int fd, char *request, char *body) {
  if (strncmp(request, "GET /sse/", 9) == 0) return subscribe(fd, request + 9, strcspn(request + 9, " ?\r\n"));
  int found = strncmp(request, "GET /healthz", 12) == 0;
  if (strncmp(request, "POST /api/", 10) == 0) found = call(body) == 0;
  return found ? send_to(fd, answer_ok, sizeof answer_ok - 1) : send_to(fd, answer_not_found, sizeof answer_not_found - 1);
}

// Reads what has come; handles each request that is whole and keeps the rest.
static int take_input(int fd) {
  struct connection *c = &connections[fd];
  size_t length = c->input_length;
  if (length > 0) memcpy(scratch, c->input, length);
  ssize_t got = read(fd, scratch + length, INPUT_LIMIT - length);
  if (got < 0 && errno == EAGAIN) return 0;
  if (got <= 0) return -1;
  length += (size_t)got;
  scratch[length] = 0;
  char *at = scratch;
  for (;;) {
    char *head_end = strstr(at, "\r\n\r\n");
    if (head_end == NULL) break;
    char *body = head_end + 4;
    *head_end = 0;
    char *field = strcasestr(at, "\r\ncontent-length:");
    *head_end = '\r';
    size_t body_length = field == NULL ? 0 : strtoul(field + 17, NULL, 10);
    if (body_length > (size_t)(scratch + length - body)) break;
    char kept = body[body_length];
    body[body_length] = 0;
    int outcome = answer(fd, at, body);
    body[body_length] = kept;
    if (outcome < 0) return -1;
    at = body + body_length;
  }
  size_t rest = (size_t)(scratch + length - at);
  if (rest >= INPUT_LIMIT) return -1;
  if (rest == 0) {
    free(c->input);
    c->input = NULL;
  } else {
    char *input = realloc(c->input, rest);
    if (input == NULL) return -1;
    memcpy(input, at, rest);
    c->input = input;
  }
  c->input_length = (uint32_t)rest;
  return 0;
}

static void accept_all(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (fd >= descriptor_limit) {
      close(fd);
      continue;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connections[fd] = (struct connection){.next = -1, .previous = -1, .bucket = -1};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  }
}

int main(void) {
  const char *port = getenv("PORT");
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  descriptor_limit = limit.rlim_cur > 1000000 ? 1000000 : (int)limit.rlim_cur;
  connections = calloc((size_t)descriptor_limit, sizeof *connections);
  memset(buckets, -1, sizeof buckets);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(port == NULL ? 3000 : atoi(port)))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connections == NULL || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, BACKLOG) < 0) {
    perror("epoll-sse");
    return 1;
  }
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
  static struct epoll_event events[EVENTS];
  for (;;) {
    int count = epoll_wait(epoll_fd, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        accept_all(listener);
        continue;
      }
      int outcome = 0;
      if (events[i].events & EPOLLOUT) outcome = flush_outbox(fd);
      if (outcome == 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) outcome = take_input(fd);
      if (outcome < 0) close_connection(fd);
    }
  }
}
