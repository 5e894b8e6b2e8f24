import { networkInterfaces } from 'node:os';
import { requirement } from '../requirement.ts';

/** For `skipIf`: the reason why nothing can listen on ::1 here. */
export const NO_IPV6 = requirement(
  'this machine has no ::1',
  Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === '::1')),
);
