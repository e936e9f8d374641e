# balancer --workers 4 -- sh -c 'exec uvicorn app:app --host $HOST --port $PORT'
import asyncio
import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def hello():
    return f"hello from worker {os.environ['WORKER_ID']}"


@app.get("/slow")
async def slow():
    await asyncio.sleep(1)
    return "a second later"
