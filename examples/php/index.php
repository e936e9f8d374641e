<?php // balancer --workers 4 --max-concurrency 1 -- sh -c 'exec php -S $HOST:$PORT index.php'
if ($_SERVER['REQUEST_URI'] === '/slow') {
    sleep(1);
}
header('content-type: text/plain');
echo 'hello from worker ', getenv('WORKER_ID'), "\n";
