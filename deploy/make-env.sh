#!/bin/sh
# Makes deploy/.env with fresh secrets for compose.yaml, and a self-signed certificate in
# deploy/certs/ for a trial. It changes nothing that is already there.
set -eu
cd "$(dirname "$0")"
umask 077

if [ -e .env ]; then
    echo "deploy/.env is there already, and stays as it is"
else
    cat >.env.new <<END
# Read by \`docker compose\`. Keep it secret, and keep a copy of it.
POSTGRES_PASSWORD=$(openssl rand -hex 24)
VALKEY_PASSWORD=$(openssl rand -hex 24)
PRESENCE_JWT_SECRET=$(openssl rand -hex 32)
PRESENCE_SERVICE_KEY=$(openssl rand -hex 32)
# Origins of your pages, for example https://chat.example.com
PRESENCE_ALLOWED_ORIGINS=
END
    mv .env.new .env
    echo "made deploy/.env"
fi

if [ -e certs/fullchain.pem ]; then
    echo "deploy/certs/fullchain.pem is there already, and stays as it is"
else
    mkdir -p certs
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -days 30 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
        -keyout certs/privkey.pem -out certs/fullchain.pem 2>/dev/null
    echo "made a self-signed certificate in deploy/certs/, for 30 days"
fi
