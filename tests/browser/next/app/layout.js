import { GreendotProvider } from "greendot-client/react";

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>
        <GreendotProvider url={process.env.NEXT_PUBLIC_GREENDOT_URL} user="ada">
          {children}
        </GreendotProvider>
      </body>
    </html>
  );
}
