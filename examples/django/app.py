# balancer --workers 4 -- sh -c 'exec gunicorn --threads 4 --no-control-socket --bind $HOST:$PORT app:app'
import os
import time

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="change me",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "example.com"],
)


def hello(request):
    return HttpResponse(f"hello from worker {os.environ['WORKER_ID']}\n")


def slow(request):
    time.sleep(1)
    return HttpResponse("a second later\n")


urlpatterns = [path("", hello), path("slow", slow)]
app = get_wsgi_application()
