// The overview page: counts, delays, end reasons and gateways.

import { type ReactNode } from "react";
import { fetchOverview, hasStatus } from "../../api/client";
import type { CurrentUser } from "../../api/types";
import { EmptyState } from "../../components/EmptyState";
import { PageHeader } from "../../components/PageHeader";
import { useFeedState } from "../../feed/feedContext";
import { useFetch } from "../../hooks/useFetch";
import { useTranslation } from "../../i18n";
import { DelayChart } from "./DelayChart";
import { EndReasons } from "./EndReasons";
import { GatewayTable } from "./GatewayTable";
import { CountTiles, OnlineTile } from "./tiles";

const POLL_INTERVAL_MS = 5000;

export function OverviewPage({ me }: { me: CurrentUser }): ReactNode {
  const t = useTranslation();
  const permission = me.rights.overview;
  return (
    <main className="page overview">
      <PageHeader title={t("overview")} />
      {permission?.allowed === false ? <FeedOverview reason={permission.reason} /> : <FullOverview historyBlocker={me.rights.history?.reason ?? null} />}
    </main>
  );
}

/** The part of the overview that comes from the feed. It is shown to users who may not see the rest; `reason` says why. */
function FeedOverview({ reason }: { reason: string | null }): ReactNode {
  const t = useTranslation();
  const { ended } = useFeedState();
  return (
    <>
      <div className="tiles"><OnlineTile /></div>
      <div className="panels">
        <DelayChart ended={ended} />
        <section className="paper"><EmptyState title={t("noRight")} hint={reason} /></section>
      </div>
    </>
  );
}

/** The whole overview. `historyBlocker` says why there is no history. */
function FullOverview({ historyBlocker }: { historyBlocker: string | null }): ReactNode {
  const t = useTranslation();
  const { ended } = useFeedState();
  const { data, errorMessage, error } = useFetch(fetchOverview, "overview", POLL_INTERVAL_MS);
  if (hasStatus(error, 403)) return <FeedOverview reason={errorMessage} />;
  return (
    <>
      {data && !data.live && <p className="notice" role="status">{t("notLive")}</p>}
      {errorMessage && <p className="notice bad" role="alert">{t("overviewMissing", errorMessage)}</p>}
      <div className="tiles">
        <OnlineTile />
        <CountTiles overview={data} historyBlocker={historyBlocker} />
      </div>
      <div className="panels">
        <DelayChart ended={ended} />
        {(data || !errorMessage) && <EndReasons counts={data?.ends_by_reason} historyBlocker={historyBlocker} />}
        {(data || !errorMessage) && <GatewayTable gateways={data?.gateways} />}
      </div>
    </>
  );
}
