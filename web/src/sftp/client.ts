// A client of SFTP, version 3: requests go at once, and answers come in any order.

import { type Attributes, type Bytes, type Field, Flag, Malformed, packet, Packets, Reader, Status, Type } from "./packets";

/** The server has refused something. */
export class Refused extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

/** There is no server any more; the message says why, if that is known. */
export class Gone extends Error {}

/** An entry of a directory. */
export interface Entry extends Attributes {
  name: string;
}

export type Handle = Bytes;

interface Pending {
  answered: (type: number, answer: Reader) => void;
  failed: (error: Error) => void;
}

export class Sftp {
  private readonly packets = new Packets();
  private readonly pending = new Map<number, Pending>();
  private last = 0;
  private gone: Gone | Malformed | null = null;

  /** `send` takes what is for the server; the first of it goes now. */
  constructor(private readonly send: (bytes: Bytes) => void) {
    send(packet(Type.init, 3));
  }

  /** Bytes of the server's. */
  heard(bytes: Bytes): void {
    if (this.gone) return;
    try {
      this.packets.add(bytes);
      for (let next = this.packets.next(); next; next = this.packets.next()) this.answer(new Reader(next));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.fail(error);
    }
  }

  /** Nothing more will come. */
  closed(why: string): void {
    this.fail(new Gone(why));
  }

  private fail(why: Gone | Malformed): void {
    this.gone ??= why;
    const all = [...this.pending.values()];
    this.pending.clear();
    for (const { failed } of all) failed(this.gone);
  }

  /** The whole name of a file or directory, without links. */
  realpath(path: string): Promise<string> {
    return this.ask(Type.realpath, [path], Type.name, (answer) => {
      answer.number();
      return answer.text();
    });
  }

  stat(path: string): Promise<Attributes> {
    return this.ask(Type.stat, [path], Type.attrs, (answer) => answer.attributes());
  }

  /** The same, of a link itself; null where there is nothing of the name. */
  async lstat(path: string): Promise<Attributes | null> {
    try {
      return await this.ask(Type.lstat, [path], Type.attrs, (answer) => answer.attributes());
    } catch (error) {
      if (error instanceof Refused && error.code === Status.noSuchFile) return null;
      throw error;
    }
  }

  async list(path: string): Promise<Entry[]> {
    const handle = await this.ask(Type.opendir, [path], Type.handle, (answer) => answer.string());
    try {
      const all: Entry[] = [];
      for (let some = await this.readdir(handle); some; some = await this.readdir(handle)) all.push(...some);
      return all.filter(({ name }) => name !== "." && name !== "..");
    } finally {
      await this.close(handle);
    }
  }

  private readdir(handle: Handle): Promise<Entry[] | null> {
    return this.untilEnd(this.ask(Type.readdir, [handle], Type.name, entries));
  }

  /** Opens a file; `flags` are some of `Flag`. */
  open(path: string, flags: number): Promise<Handle> {
    return this.ask(Type.open, [path, flags, 0], Type.handle, (answer) => answer.string());
  }

  close(handle: Handle): Promise<void> {
    return this.done(Type.close, handle);
  }

  /** What is in a file from there on, and no more than `length`; null at its end. */
  read(handle: Handle, offset: number, length: number): Promise<Bytes | null> {
    return this.untilEnd(this.ask(Type.read, [handle, BigInt(offset), length], Type.data, (answer) => answer.string()));
  }

  write(handle: Handle, offset: number, bytes: Bytes): Promise<void> {
    return this.done(Type.write, handle, BigInt(offset), bytes);
  }

  remove(path: string): Promise<void> {
    return this.done(Type.remove, path);
  }

  private async untilEnd<T>(answer: Promise<T>): Promise<T | null> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof Refused && error.code === Status.eof) return null;
      throw error;
    }
  }

  private done(type: number, ...fields: Field[]): Promise<void> {
    return this.ask(type, fields, Type.status, () => undefined);
  }

  private ask<T>(type: number, fields: readonly Field[], expected: number, understand: (answer: Reader) => T): Promise<T> {
    return new Promise((resolve, failed) => {
      if (this.gone) return failed(this.gone);
      const id = (this.last = (this.last + 1) >>> 0);
      const answered = (type: number, answer: Reader): void => {
        const refused = type === Type.status ? status(answer) : null;
        if (refused) failed(refused);
        else if (type !== expected) throw new Malformed("an answer is to another question");
        else resolve(understand(answer));
      };
      this.pending.set(id, { answered, failed });
      this.send(packet(type, id, ...fields));
    });
  }

  private answer(answer: Reader): void {
    const type = answer.byte();
    if (type === Type.version) return;
    const id = answer.number();
    const pending = this.pending.get(id);
    if (!pending) throw new Malformed("an answer is to no question");
    // It stays until it is understood: what cannot be fails it with all others.
    pending.answered(type, answer);
    this.pending.delete(id);
  }
}

function status(answer: Reader): Refused | null {
  const code = answer.number();
  return code === Status.ok ? null : new Refused(code, answer.text());
}

function entries(answer: Reader): Entry[] {
  return Array.from({ length: answer.number() }, () => {
    const name = answer.text();
    // As `ls -l` would have it: for people.
    answer.string();
    return { name, ...answer.attributes() };
  });
}

export { Flag };
