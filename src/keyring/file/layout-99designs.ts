import * as v from 'valibot';
import { KeyringBrokenError } from '../../errors.ts';

/*
 * How 99designs/keyring 1.2 lays its items out, for the keyrings that are shared with programs built on it. Its Secret
 * Service, KWallet and file backends keep this JSON; its kernel keyring keeps the bytes alone.
 */

/** Go's JSON of the item: an empty value is "", an absent one null. */
const Item = v.object({ Key: v.string(), Data: v.nullable(v.string()) });

export interface SharedItem {
  readonly key: string;
  readonly data: Uint8Array;
}

/** The folder and the application id that it uses in KWallet. */
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

/** @throws KeyringBrokenError when it is something else; its content is never in the message */
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
