"""How panels look: one stylesheet, in the colours of the theme, light or dark."""

from __future__ import annotations

CSS = """
.jp-OutputArea-child:has(.mjci-live) + .jp-OutputArea-child:has(.mjci-record) { display: none; }
.mjci-panel { max-width: 58rem; overflow: visible; color: var(--jp-ui-font-color1, #222);
  font-family: var(--jp-ui-font-family, system-ui, sans-serif); font-size: var(--jp-ui-font-size1, 13px); }
.mjci-panel .widget-html, .mjci-panel .widget-html-content { height: auto; line-height: 1.45; margin: 0; }
.mjci-panel .widget-html-content { width: 100%; }
.mjci-panel .mjci-title { display: flex; align-items: baseline; gap: .6em; }
.mjci-panel .mjci-title b { font-size: var(--jp-ui-font-size2, 15px); font-weight: 600; }
.mjci-panel .mjci-faint { color: var(--jp-ui-font-color2, #666); }
.mjci-form, .mjci-card { border: 1px solid var(--jp-border-color2, #ddd); border-radius: 8px;
  background: var(--jp-layout-color1, #fff); padding: 10px 14px; margin: 4px 0; overflow: visible; }
.mjci-form { gap: 6px; }
.mjci-form .widget-label { min-width: 9.5em; width: 9.5em; text-align: left; }
.mjci-form textarea { min-height: 3.6em; resize: vertical; line-height: 1.4; padding: 6px 8px; border-radius: 4px; }
.mjci-form > .widget-text, .mjci-form > .widget-textarea, .mjci-form > .widget-dropdown,
.mjci-form > .widget-combobox, .mjci-inset > .widget-text, .mjci-fold > * { width: auto; max-width: 52rem; }
.mjci-row > .widget-inline-hbox .widget-label { width: auto; min-width: auto; padding-right: .5em; }
.mjci-row > .widget-inline-hbox { margin: 0; }
.mjci-row > .widget-dropdown { width: auto; }
.mjci-tall { flex-flow: column; align-items: stretch; height: auto; }
.mjci-tall .widget-label { text-align: left; height: 24px; line-height: 24px; font-weight: 600; }
.mjci-form input, .mjci-form select { border-radius: 4px; }
.mjci-row { flex-flow: row wrap; align-items: center; gap: 6px; overflow: visible; }
.mjci-row > .jupyter-button { width: auto; margin: 0; }
.mjci-flags { flex-flow: row wrap; gap: 6px 14px; overflow: visible; }
.mjci-flags .widget-label { min-width: auto; width: auto; padding-right: .5em; }
.mjci-flags .widget-text { width: 10.5em; }
.mjci-flags .widget-slider { width: 18em; }
.mjci-flags .widget-inline-hbox { margin: 0; }
.mjci-flags .widget-text:last-child { flex: 1 1 12em; max-width: 24em; }
.mjci-flags .widget-dropdown select { width: auto; min-width: 5.5em; }
.mjci-panel .jupyter-button { border-radius: 5px; height: 30px; line-height: 28px; padding: 0 12px; }
.mjci-panel .jupyter-button:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px; }
.mjci-moves > .jupyter-button { background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, #222); }
.mjci-moves > .jupyter-button:hover:enabled { background: var(--jp-layout-color3, #ddd); }
.mjci-moves > .jupyter-button.mjci-done { box-shadow: inset 0 0 0 1.5px var(--jp-brand-color1, #1976d2); }
.mjci-crumbs { gap: 2px; }
.mjci-card > .mjci-crumbs, .mjci-card > .mjci-quiet { margin-left: -6px; }
.mjci-crumbs > .jupyter-button, .mjci-quiet > .jupyter-button { background: transparent; box-shadow: none;
  color: var(--jp-content-link-color, #0b66c3); padding: 0 6px; height: 26px; line-height: 26px; }
.mjci-crumbs > .jupyter-button:hover:enabled, .mjci-quiet > .jupyter-button:hover:enabled {
  box-shadow: none; text-decoration: underline; }
.mjci-crumbs > .jupyter-button:disabled { color: var(--jp-ui-font-color1, #222); opacity: 1; font-weight: 600; }
.mjci-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .3em .7em; }
.mjci-head code { font-size: .9em; background: none; color: var(--jp-ui-font-color2, #666); overflow-wrap: anywhere; }
.mjci-subject { margin: 2px 0 6px; overflow-wrap: anywhere; }
.mjci-sent { font-family: var(--jp-code-font-family, monospace); font-size: .92em; overflow-wrap: anywhere; }
.mjci-pill { border-radius: 99px; padding: 0 .7em; font-size: .85em; line-height: 1.7; font-weight: 600;
  background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, #222); }
.mjci-pill::before { content: "●"; font-size: .8em; margin-right: .45em; color: var(--mjci-tone, #888); }
.mjci-QUEUED { --mjci-tone: var(--jp-warn-color1, #e69100); }
.mjci-NEEDS_INPUT { --mjci-tone: var(--jp-warn-color1, #e69100); }
.mjci-RUNNING { --mjci-tone: var(--jp-brand-color1, #1976d2); }
.mjci-SUCCEEDED { --mjci-tone: var(--jp-success-color1, #388e3c); }
.mjci-FAILED { --mjci-tone: var(--jp-error-color1, #d32f2f); }
.mjci-CANCELLED { --mjci-tone: var(--jp-ui-font-color2, #888); }
.mjci-bar { height: 8px; border-radius: 4px; background: var(--jp-layout-color2, #e0e0e0); overflow: hidden;
  margin: 6px 0; position: relative; }
.mjci-bar > i { display: block; height: 100%; border-radius: 4px; background: var(--jp-brand-color1, #1976d2); }
.mjci-bar.mjci-unknown > i { width: 28%; position: absolute;
  animation: mjci-slide 1.6s ease-in-out infinite alternate; }
@keyframes mjci-slide { from { left: 0 } to { left: 72% } }
@media (prefers-reduced-motion: reduce) { .mjci-bar.mjci-unknown > i { animation: none; width: 100%; opacity: .4; } }
.mjci-pictures { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start; }
.mjci-pictures figure { margin: 4px 0; max-width: 100%; }
.mjci-pictures.mjci-pair figure { flex: 1 1 14rem; }
.mjci-pictures img { display: block; max-width: 100%; max-height: 30rem; border-radius: 6px; height: auto; }
.mjci-pictures figcaption { color: var(--jp-ui-font-color2, #666); font-size: .9em; margin-top: 4px;
  overflow-wrap: anywhere; }
.mjci-quiet > .jupyter-button.mjci-picked { background: var(--jp-brand-color1, #1976d2); color: #fff;
  padding: 0 10px; }
.mjci-painter { position: relative; display: inline-block; max-width: 100%; line-height: 0; }
.mjci-painter img { max-width: 100%; max-height: 30rem; border-radius: 6px; display: block; user-select: none; }
.mjci-painter canvas { position: absolute; inset: 0; width: 100%; height: 100%; opacity: .55; cursor: crosshair;
  touch-action: none; border-radius: 6px; }
.mjci-painter canvas:focus-visible { outline: 3px solid var(--jp-brand-color1, #1976d2); opacity: .75; }
.mjci-tools .widget-slider { width: 18em; }
.mjci-tools .widget-toggle-button { width: auto; }
.mjci-preview img { filter: blur(1.5px); opacity: .85; }
.mjci-said { border-left: 3px solid var(--jp-error-color1, #d32f2f); padding: 4px 10px; margin: 6px 0;
  background: var(--jp-layout-color2, #f3f3f3); border-radius: 0 4px 4px 0; overflow-wrap: anywhere; }
.mjci-said.mjci-note { border-left-color: var(--jp-warn-color1, #e69100); }
.mjci-said b { font-weight: 600; }
.mjci-grow { flex: 1 1 12em; min-width: 0; }
.mjci-tiles { flex-flow: row wrap; gap: 10px; overflow: visible; }
.mjci-tile { width: 136px; overflow: visible; }
.mjci-tile .jupyter-button { width: 100%; margin: 2px 0 0; padding: 0 6px; height: 26px; line-height: 26px;
  background: transparent; box-shadow: none; color: var(--jp-content-link-color, #0b66c3); }
.mjci-thumb { height: 90px; border-radius: 6px; overflow: hidden; display: grid; place-items: center;
  background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color2, #666); }
.mjci-thumb img { max-width: 100%; max-height: 90px; object-fit: contain; }
.mjci-editor { overflow: visible; gap: 6px; }
.mjci-editor .widget-dropdown { width: 30em; max-width: 100%; }
.mjci-stack { overflow: visible; gap: 6px; }
.mjci-block { border: 1px solid var(--jp-border-color2, #ddd); border-radius: 6px; padding: 4px 10px;
  border-left: 3px solid var(--jp-brand-color1, #1976d2); overflow: visible; }
.mjci-controls { flex-flow: row wrap; gap: 2px 14px; overflow: visible; align-items: center; }
.mjci-control, .mjci-slots { flex-flow: row wrap; gap: 2px 12px; overflow: visible; align-items: center; }
.mjci-controls .widget-label { min-width: auto; width: auto; padding-right: .5em; }
.mjci-controls .widget-inline-hbox { width: auto; }
.mjci-controls .widget-slider { width: 22em; max-width: 100%; }
.mjci-controls .widget-text { width: 16em; }
.mjci-controls .widget-dropdown { width: auto; min-width: 12em; }
.mjci-controls .widget-toggle-button { width: auto; background: transparent; box-shadow: none; height: 26px;
  line-height: 26px; color: var(--jp-content-link-color, #0b66c3); }
.mjci-inset { border-left: 3px solid var(--jp-border-color2, #ddd); padding-left: 10px; overflow: visible; gap: 4px; }
.mjci-trial { transition: opacity .15s; overflow: visible; }
.mjci-trial.mjci-stale .mjci-after { opacity: .5; }
.mjci-trial .mjci-pair > figure, .mjci-trial .mjci-after { flex: 1 1 14rem; max-width: calc(50% - 6px); min-width: 0; }
.mjci-trial img { max-height: 20rem; }
.mjci-answer { max-height: 20rem; overflow: auto; background: var(--jp-layout-color2, #f3f3f3); padding: 8px 10px;
  border-radius: 6px; }
.mjci-rows { overflow: visible; }
.mjci-job-row { flex-wrap: nowrap; border-bottom: 1px solid var(--jp-border-color2, #ddd); }
.mjci-job-row .widget-html-content { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.mjci-table { overflow-x: auto; }
.mjci-table table { border-collapse: collapse; font-size: .92em; }
.mjci-table th, .mjci-table td { text-align: left; padding: 3px 9px; max-width: 22rem; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; border-bottom: 1px solid var(--jp-border-color2, #ddd); }
.mjci-table tbody tr:hover { background: var(--jp-rendermime-table-row-hover-background, #eef5ff); }
"""
