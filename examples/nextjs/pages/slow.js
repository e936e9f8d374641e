export async function getServerSideProps() {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return { props: {} };
}

export default () => <p>a second later</p>;
