// The targets, as the cluster has them.

import { type ReactNode, useEffect, useState } from "react";
import { type Me, type Target, targets } from "./api";
import { Link } from "./Link";
import { useWords } from "./terminal/words";
import { useSay } from "./words";

export function Targets({ me }: { me: Me }): ReactNode {
  const say = useSay();
  const words = useWords();
  const [rows, setRows] = useState<readonly Target[] | null>(null);
  const [error, setError] = useState("");
  const { allowed, reason } = me.rights.list_targets;
  useEffect(() => {
    if (!allowed) return;
    const all = async (): Promise<Target[]> => {
      const found: Target[] = [];
      for (let after: string | null = null, first = true; first || after; first = false) {
        const page = await targets(after);
        found.push(...page.targets);
        after = page.next;
      }
      return found;
    };
    all().then(setRows, (failure: Error) => setError(failure.message));
  }, [allowed]);
  const text = (value: unknown): string => (Array.isArray(value) ? value.join(", ") : value === null || value === undefined ? "" : String(value));
  return (
    <main className="history">
      <div className="head"><h1>{say("targets")}</h1></div>
      {!allowed && <p className="empty">{reason}</p>}
      {error && <p className="bad" role="alert">{error}</p>}
      {allowed && !error && rows === null && <p className="empty">{say("loading")}</p>}
      {rows?.length === 0 && <p className="empty">{say("noneFound")}</p>}
      {rows && rows.length > 0 && (
        <div className="scroll" tabIndex={0}>
          <table>
            <thead><tr>{(["target", "address", "logins", "recording", "status"] as const).map((word) => <th key={word} scope="col">{say(word)}</th>)}<th scope="col">{words("terminal")}</th></tr></thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.name}>
                  <td>{row.name}</td>
                  <td>{text(row["address"])}{row["port"] ? `:${text(row["port"])}` : ""}</td>
                  <td>{text(row["logins"])}</td>
                  <td>{text(row["recording"])}</td>
                  <td>{text(row["ready"] ?? row["disabled"])}</td>
                  <td><Link to={`/terminal/${encodeURIComponent(row.name)}`}>{words("connect")}</Link></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </main>
  );
}
