"""A client of Signalbox with Python's standard library alone, written from docs/protocol.md. Copy it, and put your own View in.

    SIGNALBOX_TOKEN=... python3 client.py http://127.0.0.1:3000 plant-1 plant-2=alarm,cpu

Without rooms it hears the public feed. For each line on stdin it prints its state as a line of JSON, and once more at its end.
"""
import base64, contextlib, hashlib, http.client, json, math, os, random, signal, sys, threading, time
from urllib.parse import urlencode, urlsplit

PROTOCOL = 1
OPENING_S = 15  # from the request to `hello` or `joined`
LIVED_S = 5  # a connection that lived so long makes the waits short again


class View:
    """What the program makes of the events: here the newest values, and the ids of all facts."""

    def __init__(self):
        self.values, self.facts, self.resets = {}, [], []

    def handle(self, events):
        """A bundle, all of it or nothing: it raises before it has changed anything."""
        changes = {}
        for event in events:
            if "key" in event:
                name = (event.get("room", "@public"), event["type"], event["key"])
                changes[name] = event["data"] if "patch" not in event else merge(changes.get(name, self.values.get(name)), event["patch"])
        self.facts += [event["id"] for event in events if "key" not in event]
        self.values = {name: value for name, value in {**self.values, **changes}.items() if value is not None}

    def reset(self, reason, rooms):
        self.resets.append(reason)
        self.values = {name: value for name, value in self.values.items() if name[0] not in rooms}


def merge(value, patch):
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    value = value if isinstance(value, dict) else {}
    kept = {name: part for name, part in value.items() if name not in patch}
    return {**kept, **{name: merge(value.get(name), part) for name, part in patch.items() if part is not None}}


class Stop(Exception):
    """Coming back is of no use: the message says why."""


class Back(Exception):
    """The connection is over. `asked`: the seconds that the gateway asked to wait; None: it said nothing."""

    def __init__(self, asked=None):
        self.asked = asked


class Client:
    def __init__(self, url, rooms, token, view):
        self.base, self.view = urlsplit(url), view
        self.rooms = [{"room": room, "types": types.split(",")} if types else room for room, _, types in (each.partition("=") for each in rooms)]
        self.auth = {"Authorization": f"Bearer {token}"} if token else {}
        self.lock = threading.Lock()  # held while a message is handled
        self.cursor = self.profile = self.error = None
        self.ready = self.distrust = False
        self.byes, self.connections, self.tries, self.unanswered = [], 0, 0, True

    def state(self):
        with self.lock:
            values = {" ".join(name): value for name, value in self.view.values.items()}
            return {"profile": self.profile, "ready": self.ready, "cursor": self.cursor, "connections": self.connections, "byes": self.byes,
                    "resets": self.view.resets, "values": values, "facts": self.view.facts, "error": self.error}

    def run(self):
        while True:
            self.opened, asked = math.inf, None
            try:
                self.connect()
            except Back as end:
                asked = end.asked
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                pass  # nothing answers, it fell silent, or it is no gateway
            if time.monotonic() - self.opened >= LIVED_S or (asked is None) != self.unanswered:
                self.tries = 0
            n, self.tries, self.unanswered = min(self.tries, 6), self.tries + 1, asked is None
            jitter = min(5, 2 ** n) if asked is None else min(30, 2 ** (n - 1)) if n > 0 else 0
            time.sleep((asked or 0) + random.uniform(0, jitter))

    def connect(self):
        with self.open("/api/profile", {}) as response:
            if response.status != 200:
                self.refused(response)
            profile = json.loads(response.read())
        self.check(profile)
        self.profile, self.silence = profile["profile"], profile["pingIntervalMs"] * 2.5 / 1000
        patch = {"patch": "merge"} if "patch" in profile.get("features", []) and not self.distrust else {}
        if profile["stream"]:
            self.stream(profile["stream"], patch)
        elif profile["websocket"]:
            self.socket(profile["websocket"], patch)

    def check(self, data):
        if data.get("protocol", 1) > PROTOCOL:
            self.error = "the gateway speaks a later protocol: this client must be updated"
            raise Back(60)

    @contextlib.contextmanager
    def open(self, path, headers):
        kind = http.client.HTTPSConnection if self.base.scheme == "https" else http.client.HTTPConnection
        with contextlib.closing(kind(self.base.hostname, self.base.port, timeout=OPENING_S)) as connection:
            connection.connect()
            self.sock = connection.sock
            connection.request("GET", self.base.path.rstrip("/") + path, headers=headers)
            with contextlib.closing(connection.getresponse()) as response:
                yield response

    def refused(self, response):
        try:
            error = dict(json.loads(response.read()))
        except (ValueError, TypeError):
            error = {}  # a page of a proxy
        after = response.getheader("Retry-After", "")
        self.refuse(response.status, error, int(after) + random.random() if after.isdigit() else None)

    def refuse(self, status, error, asked):
        if status in (414, 431) or status in (400, 401, 403, 421) and "code" in error:
            raise Stop(error.get("message", f"the answer is {status}"))
        raise Back(asked if asked is not None or "code" not in error else 1)

    def stream(self, path, patch):
        query = {**({"join": json.dumps(self.rooms)} if self.rooms else {}), **patch}
        headers = {**self.auth, "Accept": "text/event-stream", **({"Last-Event-ID": self.cursor} if self.cursor else {})}
        with self.open(f"{path}?{urlencode(query)}", headers) as response:
            if response.status != 200 or not response.getheader("Content-Type", "").startswith("text/event-stream"):
                self.refused(response)
            retry, fields = None, {"data": []}
            with contextlib.suppress(OSError, http.client.HTTPException):  # the gateway ends a stream without the last chunk
                while line := response.readline().decode():
                    field, _, value = line.rstrip("\r\n").partition(":")
                    value = value.removeprefix(" ")
                    if field == "data":
                        fields["data"].append(value)
                    elif field == "retry":
                        retry = int(value) / 1000
                    elif line.strip("\r\n"):  # a line that begins with a colon is a comment: the field ""
                        fields[field] = value
                    else:  # an empty line ends a message
                        if fields["data"]:
                            text, cursor = "\n".join(fields["data"]), fields.get("id")
                            self.deliver(lambda: (fields.get("event", "events"), json.loads(text), cursor), cursor)
                        fields = {"data": []}
            raise Back(retry)

    def socket(self, path, patch):
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
        with self.open(path, {**self.auth, **upgrade}) as response:
            accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
            if response.status != 101 or response.getheader("Sec-WebSocket-Accept") != accept:
                self.refused(response)
            join = {"action": "join", **({"rooms": self.rooms} if self.rooms else {}), **({"lastEventId": self.cursor} if self.cursor else {}), **patch}
            send(self.sock, 1, json.dumps(join).encode())
            for text in messages(self.sock, response.fp):
                self.deliver(lambda: unpack(**json.loads(text)))
            raise Back()

    def deliver(self, decode, cursor=None):
        """A message as a whole; then its cursor counts."""
        with self.lock:
            try:
                name, data, cursor = decode()
                self.take(name, data)
                self.distrust = self.distrust and name != "events"
            except (ValueError, KeyError, TypeError) as error:
                if not self.distrust:
                    self.distrust = True  # once more from the cursor before it, and without patches
                    raise Back(0) from error
                self.error = f"skipped a message that is not understood: {error!r}"
            self.cursor = cursor or self.cursor

    def take(self, name, data):
        if name == "events":
            self.view.handle(data)
        elif name in ("hello", "joined"):
            self.check(data)
            if name == ("hello" if self.profile == "SSE" else "joined"):
                self.sock.settimeout(self.silence)
                self.opened, self.connections = time.monotonic(), self.connections + 1
        elif name == "ready":
            self.ready = True
        elif name == "reset":
            self.ready = False
            self.view.reset(data["reason"], data["rooms"])
        elif name == "bye":
            self.byes.append(data["reason"])
            raise Stop("the token has expired") if data["reason"] == "TOKEN_EXPIRED" else Back(data["retryMs"] / 1000)
        elif name == "error":
            self.refuse(data["statusCode"], data, data["retryMs"] / 1000 if "retryMs" in data else None)


def unpack(event, data=None, id=None, **_):
    return event, data, id or (data.get("cursor") if isinstance(data, dict) else None)


def send(sock, opcode, payload):
    size, mask = len(payload), os.urandom(4)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big") if size < 65536 else b"\xff" + size.to_bytes(8, "big")
    sock.sendall(bytes([0x80 | opcode]) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)))


def messages(sock, reader):
    """The texts that come over a WebSocket (RFC 6455), to its end. Pings are answered."""
    def exactly(size):
        if len(data := reader.read(size)) < size:
            raise ConnectionError("the socket was cut")
        return data

    text = b""
    while True:
        first, size = exactly(2)
        if size > 125:
            size = int.from_bytes(exactly(2 if size == 126 else 8), "big")
        opcode, payload = first & 15, exactly(size)
        if opcode == 8:
            send(sock, 8, payload[:2])
            return
        if opcode == 9:
            send(sock, 10, payload)
        elif opcode < 3:
            text += payload
            if first & 0x80:
                yield text.decode()
                text = b""


def main():
    client = Client(sys.argv[1], sys.argv[2:], os.environ.get("SIGNALBOX_TOKEN"), View())
    show = lambda: print(json.dumps(client.state()), flush=True)
    threading.Thread(target=lambda: [show() for _ in sys.stdin], daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        client.run()
    except Stop as stop:
        client.error = str(stop)
        sys.exit(f"{stop}")
    finally:
        show()


main()
