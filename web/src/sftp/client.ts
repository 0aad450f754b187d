// A client of SFTP version 3. Requests are sent at once; replies may come in any order.

import {
  type Attributes, type Bytes, encodePacket, type Field, MalformedPacketError, PacketDecoder, PacketReader, Status, Type,
} from "./packets";

/** A status other than OK from the server. */
export class SftpStatusError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

/** The error of a request after the connection to the server has ended. The message says why, if that is known. */
export class SftpClosedError extends Error {}

/** An entry of a directory. */
export interface DirectoryEntry extends Attributes {
  name: string;
}

export type Handle = Bytes;

interface Pending {
  onReply: (type: number, reply: PacketReader) => void;
  onError: (error: Error) => void;
}

export class SftpClient {
  private readonly decoder = new PacketDecoder();
  private readonly pending = new Map<number, Pending>();
  private lastId = 0;
  private closedError: SftpClosedError | MalformedPacketError | null = null;

  /** `send` passes bytes to the server. The constructor sends the INIT packet. */
  constructor(private readonly send: (bytes: Bytes) => void) {
    send(encodePacket(Type.init, 3));
  }

  /** Takes bytes from the server. */
  receive(bytes: Bytes): void {
    if (this.closedError) return;
    try {
      this.decoder.add(bytes);
      for (let next = this.decoder.next(); next; next = this.decoder.next()) this.handleReply(new PacketReader(next));
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      this.fail(error);
    }
  }

  /** Fails all pending and future requests. */
  disconnected(reason: string): void {
    this.fail(new SftpClosedError(reason));
  }

  private fail(reason: SftpClosedError | MalformedPacketError): void {
    this.closedError ??= reason;
    const all = [...this.pending.values()];
    this.pending.clear();
    for (const { onError } of all) onError(this.closedError);
  }

  /** Resolves a path to an absolute path without links. */
  realpath(path: string): Promise<string> {
    return this.request(Type.realpath, [path], Type.name, (reply) => {
      reply.readUint32();
      return reply.readText();
    });
  }

  stat(path: string): Promise<Attributes> {
    return this.request(Type.stat, [path], Type.attrs, (reply) => reply.readAttributes());
  }

  /** Like `stat`, but for a link returns the attributes of the link itself. Returns null if there is no such file. */
  async lstat(path: string): Promise<Attributes | null> {
    try {
      return await this.request(Type.lstat, [path], Type.attrs, (reply) => reply.readAttributes());
    } catch (error) {
      if (error instanceof SftpStatusError && error.code === Status.noSuchFile) return null;
      throw error;
    }
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    const handle = await this.request(Type.opendir, [path], Type.handle, (reply) => reply.readBytes());
    try {
      const all: DirectoryEntry[] = [];
      for (let batch = await this.readdir(handle); batch; batch = await this.readdir(handle)) all.push(...batch);
      return all.filter(({ name }) => name !== "." && name !== "..");
    } finally {
      await this.close(handle);
    }
  }

  private readdir(handle: Handle): Promise<DirectoryEntry[] | null> {
    return this.nullAtEof(this.request(Type.readdir, [handle], Type.name, readEntries));
  }

  /** Opens a file; `flags` are values of `Flag`. */
  open(path: string, flags: number): Promise<Handle> {
    return this.request(Type.open, [path, flags, 0], Type.handle, (reply) => reply.readBytes());
  }

  close(handle: Handle): Promise<void> {
    return this.requestStatus(Type.close, handle);
  }

  /** Reads up to `length` bytes from an offset; returns null at the end of the file. */
  read(handle: Handle, offset: number, length: number): Promise<Bytes | null> {
    return this.nullAtEof(this.request(Type.read, [handle, BigInt(offset), length], Type.data, (reply) => reply.readBytes()));
  }

  write(handle: Handle, offset: number, bytes: Bytes): Promise<void> {
    return this.requestStatus(Type.write, handle, BigInt(offset), bytes);
  }

  remove(path: string): Promise<void> {
    return this.requestStatus(Type.remove, path);
  }

  private async nullAtEof<T>(reply: Promise<T>): Promise<T | null> {
    try {
      return await reply;
    } catch (error) {
      if (error instanceof SftpStatusError && error.code === Status.eof) return null;
      throw error;
    }
  }

  private requestStatus(type: number, ...fields: Field[]): Promise<void> {
    return this.request(type, fields, Type.status, () => undefined);
  }

  private request<T>(type: number, fields: readonly Field[], expected: number, parse: (reply: PacketReader) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.closedError) return reject(this.closedError);
      const id = (this.lastId = (this.lastId + 1) >>> 0);
      const onReply = (type: number, reply: PacketReader): void => {
        const error = type === Type.status ? readStatus(reply) : null;
        if (error) reject(error);
        else if (type !== expected) throw new MalformedPacketError("a reply has an unexpected type");
        else resolve(parse(reply));
      };
      this.pending.set(id, { onReply, onError: reject });
      this.send(encodePacket(type, id, ...fields));
    });
  }

  private handleReply(reply: PacketReader): void {
    const type = reply.readUint8();
    if (type === Type.version) return;
    const id = reply.readUint32();
    const pending = this.pending.get(id);
    if (!pending) throw new MalformedPacketError("a reply has an unknown request ID");
    // Remove the request only after its reply was parsed. A malformed reply fails this request together with all others.
    pending.onReply(type, reply);
    this.pending.delete(id);
  }
}

function readStatus(reply: PacketReader): SftpStatusError | null {
  const code = reply.readUint32();
  return code === Status.ok ? null : new SftpStatusError(code, reply.readText());
}

function readEntries(reply: PacketReader): DirectoryEntry[] {
  return Array.from({ length: reply.readUint32() }, () => {
    const name = reply.readText();
    // Skip the long name, which is like a line of `ls -l`.
    reply.readBytes();
    return { name, ...reply.readAttributes() };
  });
}
