/**
 * `access-token`: only the access token, without a way to refresh it. `fresh`: a new login made for the receiver.
 * `move`: the sender's own login, which the sender no longer has.
 */
export type TransferMode = 'access-token' | 'fresh' | 'move';

export const TRANSFER_MODES = ['access-token', 'fresh', 'move'] as const satisfies readonly TransferMode[];
