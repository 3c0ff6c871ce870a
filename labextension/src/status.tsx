import { Popup, showPopup } from '@jupyterlab/statusbar';
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';

import { describe, level, live, summary } from './grant';
import { IGrants } from './tokens';

/** Redraws whenever the grants change. */
abstract class GrantsWidget extends ReactWidget {
  constructor(protected readonly model: IGrants) {
    super();
    model.changed.connect(this._onChanged, this);
  }

  dispose(): void {
    if (!this.isDisposed) {
      this.model.changed.disconnect(this._onChanged, this);
      super.dispose();
    }
  }

  private _onChanged(): void {
    this.update();
  }
}

/** The list that opens above the status bar: every live grant, its state and its time left. */
export class GrantsList extends GrantsWidget {
  render(): JSX.Element {
    const now = this.model.now();
    const { problem } = this.model;
    const grants = live(this.model.grants, now);
    return (
      <dl className="jp-AisecGrants-list" aria-label="My grants">
        {problem && (
          <>
            <dt>{problem.what}</dt>
            <dd>{problem.next}</dd>
          </>
        )}
        {!problem && grants.length === 0 && (
          <>
            <dt>No grants</dt>
            <dd>
              Ask for one in a notebook: %grant request dataset/… --for 1h
              --reason &quot;…&quot;
            </dd>
          </>
        )}
        {grants.map(grant => (
          <React.Fragment key={grant.id}>
            <dt>{grant.artifacts.join(', ')}</dt>
            <dd data-level={level(grant, now)}>
              {describe(grant, now)}
              {grant.reason && ` — ${grant.reason}`}
            </dd>
          </React.Fragment>
        ))}
      </dl>
    );
  }
}

/** The status bar's item: a few words, the list on a click. */
export class GrantsStatus extends GrantsWidget {
  dispose(): void {
    this._popup?.dispose();
    super.dispose();
  }

  render(): JSX.Element {
    const { grants, problem } = this.model;
    const now = this.model.now();
    const shown = live(grants, now);
    const state = problem
      ? 'unreachable'
      : shown.some(grant => level(grant, now) === 'warn')
        ? 'warn'
        : 'quiet';
    return (
      <span
        className="jp-AisecGrants jp-StatusBar-TextItem"
        data-level={state}
        role="button"
        tabIndex={0}
        title={
          problem
            ? `${problem.what} ${problem.next}`.trim()
            : shown
                .map(g => `${g.artifacts.join(', ')}: ${describe(g, now)}`)
                .join('\n') || 'My grants'
        }
        onClick={() => this._open()}
        onKeyDown={event => {
          if (event.key === 'Enter' || event.key === ' ') {
            event.preventDefault();
            this._open();
          }
        }}
      >
        {summary(grants, now)}
        {problem && ' (broker away)'}
      </span>
    );
  }

  private _open(): void {
    this._popup?.dispose();
    this._popup = showPopup({
      body: new GrantsList(this.model),
      anchor: this,
      align: 'right'
    });
  }

  private _popup: Popup | null = null;
}
