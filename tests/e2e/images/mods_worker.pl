#!/usr/bin/perl
# A worker written from the exports contract alone: it checks its environment, exports one entity to a file, uploads the
# file with the S3 API, calls back, and ends. It knows nothing of Launchyard, and reads only the contract's variables.
# It is in Perl because git needs Perl, so that it runs wherever this repository was cloned.
#
#     mods_worker.pl --api URL --store HOST:PORT [--key KEY] [--callbacks success,error,...]
#
# The contract fixes the source's and the store's addresses; here both are arguments, so that no test needs the network.
# `--key` uploads to, and reports, this key in place of the contract's. `--callbacks` sends these, in this order.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256 hmac_sha256_hex sha256_hex);
use Getopt::Long;
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(strftime);

my ($api, $store, $key, $callbacks) = ('', '', '', 'success');
GetOptions('api=s' => \$api, 'store=s' => \$store, 'key=s' => \$key, 'callbacks=s' => \$callbacks) or exit 1;
$| = 1;

sub stop { print "[worker] $_[0]\n"; exit 1 }

for my $needed (qw(TASK_ID PI R2_ACCOUNT_ID R2_ACCESS_KEY_ID R2_SECRET_ACCESS_KEY)) {
    stop("Missing environment variable: $needed") unless length($ENV{$needed} // '');
}
my ($task, $pi) = @ENV{qw(TASK_ID PI)};
my $bucket  = $ENV{R2_BUCKET} // 'arke-exports';
my $options = eval { decode_json($ENV{EXPORT_OPTIONS} // '{}') } // stop('EXPORT_OPTIONS is no JSON');
my $began   = time;
my $http    = HTTP::Tiny->new(timeout => 30);

sub call_back {
    my ($body) = @_;
    my $url = $ENV{CALLBACK_URL} // return;
    my $common = { task_id => $task, batch_id => $ENV{BATCH_ID} // 'default' };
    my $answer = $http->post($url, {
        headers => { 'Content-Type' => 'application/json' },
        content => encode_json({ %$common, %$body }),
    });
    print "[worker] callback: $answer->{status}\n";
}

sub fail {
    call_back({ status => 'error', error => $_[0] });
    stop($_[0]);
}

my $entity = $http->get("$api/entities/$pi");
fail("Failed to fetch manifest: $entity->{status} $entity->{reason}") unless $entity->{success};
my $name = $options->{recursive} ? "$pi-collection.xml" : "$pi.xml";
my $version = decode_json($entity->{content})->{ver};
my $file = qq{<?xml version="1.0" encoding="UTF-8"?>\n<mods xmlns="http://www.loc.gov/mods/v3" version="3.8">}
  . qq{<note type="version">Version $version</note><identifier type="arke-pi">$pi</identifier></mods>\n};
$key = "exports/$task/$name" unless length $key;

# PutObject, signed with AWS Signature Version 4, region auto, in the virtual-hosted form of R2's addresses.
my $host    = "$bucket.$ENV{R2_ACCOUNT_ID}.r2.cloudflarestorage.com";
my $stamp   = strftime('%Y%m%dT%H%M%SZ', gmtime);
my $day     = substr($stamp, 0, 8);
my %headers = (
    'content-type'         => 'application/xml',
    'host'                 => $host,
    'x-amz-content-sha256' => sha256_hex($file),
    'x-amz-date'           => $stamp,
);
$headers{'x-amz-security-token'} = $ENV{R2_SESSION_TOKEN} if $ENV{R2_SESSION_TOKEN};
my $signed    = join ';', sort keys %headers;
my $canonical = join "\n", 'PUT', "/$key", '', (map { "$_:$headers{$_}" } sort keys %headers), '', $signed,
  $headers{'x-amz-content-sha256'};
my $scope  = "$day/auto/s3/aws4_request";
my $string = join "\n", 'AWS4-HMAC-SHA256', $stamp, $scope, sha256_hex($canonical);
my $secret = "AWS4$ENV{R2_SECRET_ACCESS_KEY}";
$secret = hmac_sha256($_, $secret) for $day, 'auto', 's3', 'aws4_request';
$headers{authorization} = "AWS4-HMAC-SHA256 Credential=$ENV{R2_ACCESS_KEY_ID}/$scope, SignedHeaders=$signed, Signature="
  . hmac_sha256_hex($string, $secret);
my $socket = IO::Socket::INET->new(PeerAddr => $store, Timeout => 30) or fail("the store does not answer: $!");
print $socket "PUT /$key HTTP/1.1\r\n", (map { "$_: $headers{$_}\r\n" } sort keys %headers),
  'content-length: ', length($file), "\r\nconnection: close\r\n\r\n", $file;
my $answer = join '', <$socket>;
my ($status) = $answer =~ m{^HTTP/1\.1 (\d+)};
print "[worker] upload: $status\n";
fail("The upload was refused: $status") unless $status == 200;

my $total_time_ms = (time - $began) * 1000; # the same in a repeated report
for my $which (split /,/, $callbacks) {
    if ($which eq 'error') {
        call_back({ status => 'error', error => 'The worker has changed its mind.' });
        next;
    }
    call_back({
        status           => 'success',
        output_r2_key    => $key,
        output_file_name => $name,
        output_file_size => length($file) + 0,
        metrics          => {
            total_time_ms     => $total_time_ms,
            entities_exported => 1,
            entities_failed   => 0,
            peak_memory_mb    => 20,
        },
    });
}
exit 0;
