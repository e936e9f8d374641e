// balancer --workers 4 -- sh -c 'HOSTNAME=$HOST exec node .next/standalone/server.js'
export const getServerSideProps = () => ({ props: { worker: process.env.WORKER_ID } });

export default ({ worker }) => <p>hello from worker {worker}</p>;
