// balancer --workers 4 -- sh -c 'exec node_modules/.bin/next start -H $HOST -p $PORT'
export const getServerSideProps = () => ({ props: { worker: process.env.WORKER_ID } });

export default ({ worker }) => <p>hello from worker {worker}</p>;
