import { WindowsError } from './windows-error.ts';

/*
 * Generic credentials of the Windows Credential Manager (wincred.h), through advapi32. Windows stores them in the
 * user's profile, encrypted under the user's logon secret, and they never leave this machine
 * (CRED_PERSIST_LOCAL_MACHINE).
 *
 * The calls are synchronous: each is one request to the local security authority, which neither prompts nor waits for a
 * person. GetLastError belongs to the calling thread.
 */

export interface WindowsCredential {
  /** The credential's full name. Windows compares targets without regard to case. */
  readonly target: string;
  readonly blob: Uint8Array;
  readonly userName?: string | undefined;
  readonly comment?: string | undefined;
}

export interface WindowsCredentials {
  /** Returns the blob; `undefined` when no credential has that name. */
  read(target: string): Uint8Array | undefined;
  /** Stores the credential, and replaces any credential of that name. */
  write(credential: WindowsCredential): void;
  /** Returns `false` when no credential has that name. */
  delete(target: string): boolean;
}

/** CRED_MAX_CREDENTIAL_BLOB_SIZE. The error that Windows returns for a larger blob does not mention the size. */
export const MAX_BLOB_BYTES = 5 * 512;

const GENERIC = 1;
const PERSIST_LOCAL_MACHINE = 2;
const ERROR_NOT_FOUND = 1168;

/** @throws the loader's error, if koffi or advapi32 is missing */
export async function windowsCredentials(): Promise<WindowsCredentials> {
  const { default: koffi } = await import('koffi');
  const advapi32 = koffi.load('advapi32.dll');
  const lastError = koffi.load('kernel32.dll').func('__stdcall', 'GetLastError', 'uint32_t', []);
  // CREDENTIALW. The FILETIME is split into two halves, for its alignment.
  const credentialType = koffi.struct({
    flags: 'uint32_t',
    type: 'uint32_t',
    target: 'str16',
    comment: 'str16',
    writtenLow: 'uint32_t',
    writtenHigh: 'uint32_t',
    blobSize: 'uint32_t',
    blob: 'void *',
    persist: 'uint32_t',
    attributeCount: 'uint32_t',
    attributes: 'void *',
    targetAlias: 'str16',
    userName: 'str16',
  });
  const credRead = advapi32.func('__stdcall', 'CredReadW', 'int', [
    'str16',
    'uint32_t',
    'uint32_t',
    koffi.out(koffi.pointer('void *')),
  ]);
  const credWrite = advapi32.func('__stdcall', 'CredWriteW', 'int', [
    koffi.pointer(credentialType),
    'uint32_t',
  ]);
  const credDelete = advapi32.func('__stdcall', 'CredDeleteW', 'int', ['str16', 'uint32_t', 'uint32_t']);
  const credFree = advapi32.func('__stdcall', 'CredFree', 'void', ['void *']);

  return {
    read(target) {
      const found: [bigint | null] = [null];
      if (credRead(target, GENERIC, 0, found) === 0) {
        const number = lastError();
        if (number === ERROR_NOT_FOUND) return undefined;
        throw new WindowsError('CredReadW', number);
      }
      const [pointer] = found;
      try {
        const { blob, blobSize } = koffi.decode(pointer, credentialType);
        if (blobSize === 0) return new Uint8Array(0);
        const bytes = koffi.array('uint8_t', blobSize);
        const copy: Uint8Array = koffi.decode(blob, bytes);
        // CredFree does not clear the memory.
        koffi.encode(blob, bytes, new Uint8Array(blobSize));
        return copy;
      } finally {
        credFree(pointer);
      }
    },
    write({ target, blob, userName, comment }) {
      const done = credWrite(
        {
          flags: 0,
          type: GENERIC,
          target,
          comment: comment ?? null,
          writtenLow: 0,
          writtenHigh: 0,
          blobSize: blob.length,
          blob: Buffer.from(blob.buffer, blob.byteOffset, blob.length),
          persist: PERSIST_LOCAL_MACHINE,
          attributeCount: 0,
          attributes: null,
          targetAlias: null,
          userName: userName ?? null,
        },
        0,
      );
      if (done === 0) throw new WindowsError('CredWriteW', lastError());
    },
    delete(target) {
      if (credDelete(target, GENERIC, 0) !== 0) return true;
      const number = lastError();
      if (number === ERROR_NOT_FOUND) return false;
      throw new WindowsError('CredDeleteW', number);
    },
  };
}
