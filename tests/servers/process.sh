# Shared by the server scripts: sourced, not run.
#
# A server lives in a folder DIR: its data, its ports, DIR/pid and DIR/server.log. `start` on the same DIR goes on with the
# same data on the same ports. Everything listens on 127.0.0.1 only.

cache=${KAPPA_TEST_CACHE:-$HOME/.cache/kappa-test}

# One JVM start of a server: no second compiler and a serial collector, since a test needs it soon, not fast.
java_flags=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto)

die() {
  echo "${0##*/servers/}: $*" >&2
  exit 1
}

# Copies the jars of a pom into a folder of the cache, once, whoever else is doing so. $1: pom, $2: folder.
fetch_jars() {
  [[ -e $2/.complete ]] && return
  mkdir -p "$cache"
  (
    flock 9
    [[ -e $2/.complete ]] && exit 0
    rm -rf "$2"
    mvn -q -B -f "$1" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$2" >&2
    touch "$2/.complete"
  ) 9>"$2.lock"
}

# Ports below the range that the kernel gives to outgoing connections, on which nobody listens, and which nobody else gets from here
# until whoever asked has had time to. $1: how many.
free_ports() {
  local given=/tmp/kappa-ports.$UID found=() port
  mkdir -p "$given"
  find "$given" -mindepth 1 -maxdepth 1 -mmin +3 -exec rmdir {} + 2>/dev/null || true
  while ((${#found[@]} < $1)); do
    port=$((20000 + RANDOM % 12000))
    mkdir "$given/$port" 2>/dev/null || continue
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || found+=("$port")
  done
  echo "${found[*]}"
}

# `kill -0` holds for a killed process that nobody has waited for, so ask for its state.
running() { [[ -e /proc/$1 ]] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

alive() { [[ -s $1/pid ]] && running "$(<"$1/pid")"; }

# Waits until DIR/server.log says that the server is up. $1: DIR, $2: the line's pattern.
await_ready() {
  local pid i
  pid=$(<"$1/pid")
  for ((i = 0; i < 1200; i++)); do
    grep -q "$2" "$1/server.log" && return
    running "$pid" || { tail -n 30 "$1/server.log" >&2; die "died at start"; }
    sleep 0.1
  done
  tail -n 30 "$1/server.log" >&2
  die "not ready after 120 s"
}

# $1: DIR, $2: signal; SIGKILL when it takes longer than 20 s.
stop() {
  alive "$1" || { rm -f "$1/pid"; return 0; }
  local pid i
  pid=$(<"$1/pid")
  kill -"$2" "$pid" 2>/dev/null || true
  for ((i = 0; i < 200; i++)); do
    running "$pid" || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  rm -f "$1/pid"
}
