import { OnlineBadge } from "greendot-client/react";

export const metadata = { title: "Friends" };

export default function Page() {
  return (
    <p>
      Grace <OnlineBadge userId="grace" words />
    </p>
  );
}
