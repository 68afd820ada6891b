// Your own server signs the token of the logged-in user. Here the Greendot demo does it.
export async function fetchToken(user) {
  const response = await fetch("/demo/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user_id: user }),
  });
  if (response.status === 401) return null; // nobody is signed in: the client stops
  if (!response.ok) throw new Error(`/demo/token answered ${response.status}`); // it tries again
  const { data } = await response.json();
  return data.token;
}
