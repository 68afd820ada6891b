// Your own server signs the token of whoever is logged in. Here Greendot's demo does.
export async function fetchToken(user) {
  const response = await fetch("/demo/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user_id: user }),
  });
  const { data } = await response.json();
  return data.token;
}
