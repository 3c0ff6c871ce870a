import { ServerConnection } from '@jupyterlab/services';

import { sayPage } from '../page';

interface IAsked {
  readonly url: string;
  readonly init: RequestInit;
}

function settings(fetch: typeof window.fetch): ServerConnection.ISettings {
  return ServerConnection.makeSettings({
    baseUrl: 'http://localhost/base/',
    fetch,
    Request: class {
      readonly headers = new Map();
      constructor(
        readonly url: string,
        readonly init: RequestInit
      ) {}
    } as unknown as typeof Request
  });
}

describe('sayPage', () => {
  it('posts to the server extension', async () => {
    const asked: IAsked[] = [];
    await sayPage(
      settings(request => {
        asked.push(request as unknown as IAsked);
        return Promise.resolve({ ok: true } as Response);
      })
    );
    expect(asked).toHaveLength(1);
    expect(asked[0].url).toMatch(/^http:\/\/localhost\/base\/aisec\/page/);
    expect(asked[0].init.method).toBe('POST');
  });

  it('lets the lab start when the server is away', async () => {
    const warn = jest
      .spyOn(console, 'warn')
      .mockImplementation(() => undefined);
    await sayPage(settings(() => Promise.reject(new TypeError('away'))));
    expect(warn).toHaveBeenCalledTimes(1);
    warn.mockRestore();
  });
});
