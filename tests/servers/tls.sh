# Certificates that the servers of the tests share: sourced behind process.sh, not run.
#
# `make_tls` brings them into the folder $tls of the cache, once:
#
#   ca.pem                        signs the other two
#   server.p12, server.pem, server-key.pem   of localhost and 127.0.0.1; password of the store: kappa-server
#   client.p12, client.pem, client-key.pem   of a client; password kappa-client
#   other-ca.pem                  signs nothing

tls=$cache/tls-3

make_tls() {
  [[ -e $tls/.complete ]] && return
  mkdir -p "$cache"
  (
    flock 9
    [[ -e $tls/.complete ]] && exit 0
    rm -rf "$tls"
    mkdir "$tls"
    make_ca ca
    make_ca other-ca
    make_signed server kappa-server -ext san=dns:localhost,ip:127.0.0.1
    make_signed client kappa-client
    print_key server kappa-server
    print_key client kappa-client
    touch "$tls/.complete"
  ) 9>"$tls.lock"
}

# keytool on a store of its own. $1: name of store and entry, $2: password.
keystore() {
  local name=$1 password=$2
  shift 2
  keytool "$@" -alias "$name" -storetype PKCS12 -keystore "$tls/$name.p12" -storepass "$password" 2>>"$tls/log"
}

new_key=(-genkeypair -keyalg EC -groupname secp256r1 -validity 3650)

make_ca() { # $1: name
  keystore "$1" kappa-ca "${new_key[@]}" -dname "CN=kappa test $1" -ext bc:c
  keystore "$1" kappa-ca -exportcert -rfc >"$tls/$1.pem"
}

make_signed() { # $1: name, $2: password, then extensions of the certificate
  local name=$1 password=$2
  shift 2
  keystore "$name" "$password" "${new_key[@]}" -dname "CN=kappa-$name"
  keystore "$name" "$password" -certreq |
    keystore ca kappa-ca -gencert -rfc -validity 3650 "$@" >"$tls/$name.pem"
  # The chain: a store takes a reply only if it knows who signed it.
  cat "$tls/ca.pem" >>"$tls/$name.pem"
  keystore "$name" "$password" -importcert -noprompt -file "$tls/$name.pem"
}

# keytool gives no key away. $1: name, $2: password.
print_key() {
  cat >"$tls/PrintKey.java" <<'JAVA'
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.Base64;

class PrintKey {
  public static void main(String[] args) throws Exception {
    var password = args[2].toCharArray();
    var key = KeyStore.getInstance(Path.of(args[0]).toFile(), password).getKey(args[1], password);
    var lines = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(key.getEncoded());
    System.out.println("-----BEGIN PRIVATE KEY-----\n" + lines + "\n-----END PRIVATE KEY-----");
  }
}
JAVA
  java "$tls/PrintKey.java" "$tls/$1.p12" "$1" "$2" >"$tls/$1-key.pem"
}
