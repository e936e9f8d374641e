# balancer --workers 4 -- sh -c 'exec gunicorn --threads 4 --no-control-socket --bind $HOST:$PORT app:app'
import os
import time

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return f"hello from worker {os.environ['WORKER_ID']}\n"


@app.get("/slow")
def slow():
    time.sleep(1)
    return "a second later\n"
