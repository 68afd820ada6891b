import { GreendotProvider, OnlineBadge, useOnlineFriends } from "greendot-client/react";
import { fetchToken } from "./host.js";

const FRIENDS = ["ada", "grace", "margaret", "alan"];

export function App({ user }) {
  return (
    <GreendotProvider user={user} token={() => fetchToken(user)}>
      <h1>Friends of {user}</h1>
      <ul>
        {FRIENDS.filter((id) => id !== user).map((id) => (
          <li key={id}>
            {id} <OnlineBadge userId={id} words />
          </li>
        ))}
      </ul>
      <Count />
    </GreendotProvider>
  );
}

function Count() {
  const online = useOnlineFriends();
  return <p id="count">{online.length === 0 ? "Nobody is" : online.join(", ")} online</p>;
}
