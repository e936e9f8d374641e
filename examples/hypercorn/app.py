# balancer --workers 4 -- sh -c 'exec hypercorn --bind $HOST:$PORT app:app'
import asyncio
import os


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        await respond(scope["path"], send)


async def lifespan(receive, send):
    while True:
        event = (await receive())["type"]
        print(event, flush=True)
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def respond(path, send):
    text = f"hello from worker {os.environ['WORKER_ID']}\n"
    if path == "/slow":
        await asyncio.sleep(1)
        text = "a second later\n"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})
