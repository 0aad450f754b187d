// The table of gateways and their heartbeats.

import type { ReactNode } from "react";
import type { GatewayStatus } from "../../api/types";
import { Link } from "../../components/Link";
import { formatCoarseDuration } from "../../format";
import { type MessageKey, useTranslation } from "../../i18n";

/** A heartbeat that is older than this is marked as late. Gateways renew their Lease every 5 s. */
const LATE_AFTER_SECONDS = 12;

/** The table. `gateways` is undefined until the gateways are loaded, and null for users who may not list Leases. */
export function GatewayTable({ gateways }: { gateways: readonly GatewayStatus[] | null | undefined }): ReactNode {
  const t = useTranslation();
  return (
    <section className="paper full-width" aria-labelledby="gateways">
      <h2 id="gateways">{t("gateways")}</h2>
      {gateways === undefined && <p className="hint">{t("loading")}</p>}
      {gateways === null && <p className="hint">{t("leasesHidden")}</p>}
      {gateways?.length === 0 && <p className="bad">{t("noGateways")}</p>}
      {gateways && gateways.length > 0 && (
        <div className="table-scroll" role="group" aria-label={t("gateways")} tabIndex={0}>
          <table>
            <thead>
              <tr>
                {(["gateway", "instance", "state", "heartbeat"] as const).map((label) => <th key={label} scope="col">{t(label)}</th>)}
                <th scope="col" className="number">{t("sessions")}</th>
              </tr>
            </thead>
            <tbody>{gateways.map((it) => <GatewayRow key={it.instance} gateway={it} />)}</tbody>
          </table>
        </div>
      )}
    </section>
  );
}

/** Returns the label and the CSS class of a gateway's state. */
function gatewayHealth({ lost, draining, renewed_ago: ago }: GatewayStatus): readonly [MessageKey, string] {
  if (lost) return ["lost", "terminated"];
  if (ago === null || ago > LATE_AFTER_SECONDS) return ["late", "timeout"];
  return draining ? ["draining", "timeout"] : ["healthy", "good"];
}

function GatewayRow({ gateway }: { gateway: GatewayStatus }): ReactNode {
  const t = useTranslation();
  const [label, tone] = gatewayHealth(gateway);
  const sessionsPath = `/?gateway=${encodeURIComponent(gateway.name)}`;
  return (
    <tr>
      <td><Link to={sessionsPath}>{gateway.name}</Link></td>
      <td><code>{gateway.instance}</code></td>
      <td><span className={`status ${tone}`}>{t(label)}</span></td>
      <td data-label={t("heartbeat")}>{gateway.renewed_ago === null ? t("unknown") : t("ago", formatCoarseDuration(gateway.renewed_ago, t.language))}</td>
      <td className="number" data-label={t("sessions")}><Link to={sessionsPath} className="link">{gateway.sessions}</Link></td>
    </tr>
  );
}
