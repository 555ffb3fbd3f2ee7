storage "file" {
  path = "/data/vault"
}
listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}
disable_mlock = true
log_level = "error"
api_addr = "http://127.0.0.1:8200"
