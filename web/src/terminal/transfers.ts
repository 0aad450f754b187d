// Files on their way to a target and from it: some at once, the others wait.

import { Exists } from "../sftp/transfer";

export type Fate =
  | { state: "waiting" }
  | { state: "going" }
  | { state: "done" }
  | { state: "exists" }
  | { state: "cancelled" }
  | { state: "failed"; error: unknown };

export interface Transfer {
  id: number;
  name: string;
  /** To the target, or from it. */
  way: "up" | "down";
  /** In bytes, as it was when this began. */
  size: number;
  /** How much of it has come through. */
  moved: number;
  fate: Fate;
}

/** What moves a file: it tells how much more has come through, and fails with `Exists` where it would replace another. */
export type Move = (how: { overwrite: boolean; signal: AbortSignal; went: (bytes: number) => void }) => Promise<void>;

export const AT_ONCE = 3;

export class Transfers {
  private all: readonly Transfer[] = [];
  private readonly moves = new Map<number, { move: Move; overwrite: boolean }>();
  private readonly going = new Map<number, AbortController>();
  private readonly listeners = new Set<() => void>();
  private last = 0;

  snapshot = (): readonly Transfer[] => this.all;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  add(way: Transfer["way"], name: string, size: number, move: Move): void {
    const id = ++this.last;
    this.moves.set(id, { move, overwrite: false });
    this.change([...this.all, { id, name, way, size, moved: 0, fate: { state: "waiting" } }]);
  }

  /** Moves one although there is such a file. */
  replace(id: number): void {
    const moved = this.moves.get(id);
    if (!moved) return;
    moved.overwrite = true;
    this.update(id, { fate: { state: "waiting" }, moved: 0 });
  }

  cancel(id: number): void {
    this.update(id, { fate: { state: "cancelled" } });
    this.going.get(id)?.abort();
  }

  /** Whether anything is still to be moved. */
  busy(): boolean {
    return this.all.some(({ fate }) => fate.state === "waiting" || fate.state === "going");
  }

  private update(id: number, change: Partial<Transfer>): void {
    this.change(this.all.map((transfer) => (transfer.id === id ? { ...transfer, ...change } : transfer)));
  }

  private change(all: readonly Transfer[]): void {
    this.all = all;
    const next = all.find(({ fate }) => fate.state === "waiting");
    if (next && this.going.size < AT_ONCE) void this.run(next.id);
    else for (const listener of this.listeners) listener();
  }

  private async run(id: number): Promise<void> {
    const moved = this.moves.get(id);
    if (!moved) return;
    const control = new AbortController();
    this.going.set(id, control);
    this.update(id, { fate: { state: "going" } });
    const went = (bytes: number): void => {
      const before = this.all.find((transfer) => transfer.id === id)?.moved ?? 0;
      this.update(id, { moved: before + bytes });
    };
    let fate: Fate = { state: "done" };
    try {
      await moved.move({ overwrite: moved.overwrite, signal: control.signal, went });
    } catch (error) {
      fate = error instanceof Exists ? { state: "exists" } : { state: "failed", error };
    }
    this.going.delete(id);
    this.update(id, control.signal.aborted ? {} : { fate });
  }
}
