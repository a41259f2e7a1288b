"use strict";
// Error heat maps that can be turned: WebGL 2, no library. Drag or arrow keys turn all meshes, a double click resets.
(() => {
  const source = document.getElementById("meshes");
  if (!source) return;
  const page = JSON.parse(source.textContent);
  const UNMEASURED = 65535, MICROMETRES = 1000, PLAIN = [186, 190, 198], MARGIN = 1;
  const view = { yaw: 0, pitch: 0, plain: false };

  const VERTEX = `#version 300 es
    in vec3 place; in vec3 normal; in vec3 colour;
    uniform mat3 turn; uniform vec3 plain; uniform float mixed; uniform vec2 scale;
    out vec3 n; out vec3 c;
    void main() {
      vec3 p = turn * place;
      n = turn * normal; c = mix(colour, plain, mixed);
      gl_Position = vec4(p.xy * scale, -p.z * 0.5, 1.0);
    }`;
  const FRAGMENT = `#version 300 es
    precision mediump float;
    in vec3 n; in vec3 c; out vec4 shown;
    void main() {
      vec3 m = normalize(n) * (gl_FrontFacing ? 1.0 : -1.0);
      float key = max(dot(m, normalize(vec3(-0.4, 0.5, 0.9))), 0.0), fill = max(m.z, 0.0);
      shown = vec4(c * ((gl_FrontFacing ? 0.38 : 0.22) + 0.50 * key + 0.22 * fill), 1.0);
    }`;

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const ramp = page.ramp.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));

  function colourOf(micrometres) {
    if (micrometres === UNMEASURED) return PLAIN;
    const at = Math.min(micrometres / MICROMETRES / page.limit_mm, 1) * (ramp.length - 1);
    const low = Math.min(Math.floor(at), ramp.length - 2), part = at - low;
    return ramp[low].map((value, k) => value + part * (ramp[low + 1][k] - value));
  }

  // Vertices about their middle, the farthest at distance 1.
  function placesOf(mesh) {
    const packed = new Uint16Array(bytes(mesh.places)), places = new Float32Array(packed.length);
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    packed.forEach((value, i) => {
      places[i] = mesh.low_mm[i % 3] + mesh.step_mm * value;
      low[i % 3] = Math.min(low[i % 3], places[i]); high[i % 3] = Math.max(high[i % 3], places[i]);
    });
    let farthest = 0;
    for (let i = 0; i < places.length; i++) places[i] -= (low[i % 3] + high[i % 3]) / 2;
    for (let i = 0; i < places.length; i += 3) {
      farthest = Math.max(farthest, Math.hypot(places[i], places[i + 1], places[i + 2]));
    }
    return places.map((value) => value / (farthest || 1));
  }

  function normalsOf(places, triangles) {
    const normals = new Float32Array(places.length);
    for (let t = 0; t < triangles.length; t += 3) {
      const [a, b, c] = [3 * triangles[t], 3 * triangles[t + 1], 3 * triangles[t + 2]];
      const u = [0, 1, 2].map((k) => places[b + k] - places[a + k]);
      const v = [0, 1, 2].map((k) => places[c + k] - places[a + k]);
      const cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += cross[k];
    }
    return normals;
  }

  function programOf(gl) {
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    return program;
  }

  function fill(gl, program, name, values, kind, normalised) {
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    const where = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, 3, kind, normalised, 0, 0);
  }

  function load(canvas, mesh) {
    const gl = canvas.getContext("webgl2", { antialias: true, alpha: true });
    if (!gl) return null;
    const program = programOf(gl), triangles = triangleList(mesh), places = placesOf(mesh);
    const errors = new Uint16Array(bytes(mesh.errors)), colours = new Uint8Array(places.length);
    errors.forEach((error, i) => colours.set(colourOf(error), 3 * i));
    gl.useProgram(program);
    fill(gl, program, "place", places, gl.FLOAT, false);
    fill(gl, program, "normal", normalsOf(places, triangles), gl.FLOAT, false);
    fill(gl, program, "colour", colours, gl.UNSIGNED_BYTE, true);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
    gl.enable(gl.DEPTH_TEST);
    const at = (name) => gl.getUniformLocation(program, name);
    const uniforms = { turn: at("turn"), plain: at("plain"), mixed: at("mixed"), scale: at("scale") };
    gl.uniform3fv(uniforms.plain, PLAIN.map((value) => value / 255));
    const kind = mesh.bits === 16 ? gl.UNSIGNED_SHORT : gl.UNSIGNED_INT;
    return { canvas, gl, uniforms, kind, count: triangles.length };
  }

  function triangleList(mesh) {
    const content = bytes(page.triangles[mesh.triangles]);
    return mesh.bits === 16 ? new Uint16Array(content) : new Uint32Array(content);
  }

  function draw({ canvas, gl, uniforms, kind, count }) {
    const dense = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = Math.max(Math.round(canvas.clientWidth * dense), 1);
    canvas.height = Math.max(Math.round(canvas.clientHeight * dense), 1);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    gl.uniformMatrix3fv(uniforms.turn, false, [cy, sp * sy, -cp * sy, 0, cp, sp, sy, -sp * cy, cp * cy]);
    gl.uniform1f(uniforms.mixed, view.plain ? 1 : 0);
    const least = Math.min(canvas.width, canvas.height) * MARGIN;
    gl.uniform2f(uniforms.scale, least / canvas.width, least / canvas.height);
    gl.drawElements(gl.TRIANGLES, count, kind, 0);
  }

  const shown = [];
  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; shown.forEach(draw); });
  }

  function turn(across, down) {
    view.yaw += across;
    view.pitch = Math.max(-1.5, Math.min(1.5, view.pitch + down));
    redraw();
  }

  function listen(canvas) {
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      turn((event.clientX - last[0]) * 0.01, (event.clientY - last[1]) * 0.01);
      last = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });
    canvas.addEventListener("dblclick", () => { view.yaw = 0; view.pitch = 0; redraw(); });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[event.key];
      if (step) { turn(...step); event.preventDefault(); }
    });
  }

  document.querySelectorAll("canvas[data-mesh]").forEach((canvas) => {
    const loaded = load(canvas, page.meshes[Number(canvas.dataset.mesh)]);
    if (!loaded) { canvas.replaceWith("This browser has no WebGL 2, which draws the mesh."); return; }
    shown.push(loaded);
    listen(canvas);
  });
  const plain = document.getElementById("plain");
  if (plain) plain.addEventListener("change", () => { view.plain = plain.checked; redraw(); });
  window.addEventListener("resize", redraw);
  redraw();
})();
