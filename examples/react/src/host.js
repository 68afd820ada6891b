// Your own server signs the token of the logged-in user. Here the Greendot demo does it.
export async function fetchToken(user) {
  const response = await fetch("/demo/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user_id: user }),
  });
  const { data } = await response.json();
  return data.token;
}
