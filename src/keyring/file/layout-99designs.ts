import * as v from 'valibot';
import { KeyringBrokenError } from '../../errors.ts';

/*
 * The item layout of 99designs/keyring 1.2, for keyrings shared with programs built on it. Its Secret Service, KWallet
 * and file backends store this JSON; its kernel keyring stores only the bytes.
 */

/** Go's JSON of an item: an empty value is "", a missing value is null. */
const Item = v.object({ Key: v.string(), Data: v.nullable(v.string()) });

export interface SharedItem {
  readonly key: string;
  readonly data: Uint8Array;
}

/** The folder and the application id of 99designs/keyring in KWallet. */
export const SHARED_KWALLET_NAME = 'keyring';

export function encodeSharedItem({ key, data }: SharedItem): Buffer {
  return Buffer.from(
    JSON.stringify({
      Key: key,
      Data: Buffer.from(data).toString('base64'),
      Label: key,
      Description: '',
      KeychainNotTrustApplication: false,
      KeychainNotSynchronizable: false,
    }),
  );
}

/** @throws KeyringBrokenError when the bytes are not such an item; the message never includes their content */
export function decodeSharedItem(bytes: Uint8Array): SharedItem {
  const item = v.safeParse(Item, parseJson(bytes));
  if (!item.success) {
    throw new KeyringBrokenError('The keyring’s item is not one of 99designs/keyring.', {
      hint: 'See which program wrote it. It is left as it is.',
    });
  }
  return { key: item.output.Key, data: Buffer.from(item.output.Data ?? '', 'base64') };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}
