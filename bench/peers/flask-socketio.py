# Flask-SocketIO, as its documents say, on gevent, the faster of its servers: the design that came before.

import gevent.monkey
gevent.monkey.patch_all()

import json
import socket

from flask import Flask, request
from flask_socketio import SocketIO, join_room

app = Flask(__name__)
socketio = SocketIO(app, async_mode='gevent')


@socketio.on('connect')
def connect():
    join_room('bench')


@app.post('/publish')
def publish():
    socketio.emit('event', json.loads(request.data), to='bench')
    return '', 202


with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
print(f'listens on http://127.0.0.1:{port}/', flush=True)
socketio.run(app, host='127.0.0.1', port=port, log_output=False)
