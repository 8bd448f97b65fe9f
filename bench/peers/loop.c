// The least a server can do: epoll, and one send() of a ready-made SSE event for each connection. It stands for what
// the kernel alone costs. A GET opens a stream, a POST is an event for all of them.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 65536
static int streams[MOST], count;
static char in[1 << 20], out[1 << 20];
static const char OPEN[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: ready\n\n";
static const char TAKEN[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

static void broadcast (const char *body, size_t length) {
  int size = snprintf(out, sizeof out, "data: %.*s\n\n", (int) length, body);
  for (int at = 0; at < count; at++) {
    if (send(streams[at], out, size, MSG_NOSIGNAL | MSG_DONTWAIT) == -1 && errno != EAGAIN) {
      streams[at--] = streams[--count];
    }
  }
}

static void take (int fd) {
  ssize_t got = recv(fd, in, sizeof in - 1, 0);
  if (got <= 0) {
    for (int at = 0; at < count; at++) if (streams[at] == fd) { streams[at] = streams[--count]; break; }
    close(fd);
    return;
  }
  in[got] = 0;
  if (strncmp(in, "GET", 3) == 0 && count < MOST) {
    send(fd, OPEN, sizeof OPEN - 1, MSG_NOSIGNAL);
    streams[count++] = fd;
  } else if (strncmp(in, "POST", 4) == 0) {
    char *body = strstr(in, "\r\n\r\n");
    if (body != NULL) broadcast(body + 4, got - (body + 4 - in));
    send(fd, TAKEN, sizeof TAKEN - 1, MSG_NOSIGNAL);
  }
}

int main (void) {
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  socklen_t size = sizeof address;
  if (bind(listener, (struct sockaddr *) &address, size) != 0 || listen(listener, 4096) != 0) return 1;
  getsockname(listener, (struct sockaddr *) &address, &size);
  printf("listens on http://127.0.0.1:%d/\n", ntohs(address.sin_port));
  fflush(stdout);
  struct epoll_event event = { .events = EPOLLIN, .data.fd = listener }, events[256];
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int ready = epoll_wait(poll, events, 256, -1);
    for (int at = 0; at < ready; at++) {
      if (events[at].data.fd != listener) { take(events[at].data.fd); continue; }
      for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) != -1;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        event.events = EPOLLIN;
        event.data.fd = fd;
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
      }
    }
  }
}
