# balancer --workers 4 -- sh -c 'exec puma --bind tcp://$HOST:$PORT'
run lambda { |env|
  sleep 1 if env['PATH_INFO'] == '/slow'
  [200, { 'content-type' => 'text/plain' }, ["hello from worker #{ENV['WORKER_ID']}\n"]]
}
