// Sends a file to the gateway. It is an XMLHttpRequest because fetch does not say how far it has come.

import { filesAddress, join } from "./files";
import { sentence } from "./connection";
import type { Fate, Send } from "./uploads";

const CONFLICT = 409;

/** What sends the files of a session. */
export function sender(base: string, session: string): Send {
  return ({ file, directory, overwrite }, tell) => {
    const request = new XMLHttpRequest();
    request.open("PUT", filesAddress(base, session, join(directory, file.name), overwrite));
    request.withCredentials = true;
    request.responseType = "json";
    request.upload.onprogress = ({ loaded }) => tell({ state: "going", sent: loaded });
    request.onload = () => tell(fate(request));
    request.onerror = () => tell({ state: "failed", why: null });
    request.send(file);
    return () => request.abort();
  };
}

function fate({ status, statusText, response }: XMLHttpRequest): Fate {
  if (status >= 200 && status < 300) return { state: "done" };
  if (status === CONFLICT) return { state: "exists" };
  return { state: "failed", why: sentence(response) ?? `${status} ${statusText}`.trim() };
}
